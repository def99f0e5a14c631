// SPDX-License-Identifier: GPL-2.0-only

#include "trace.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace uma {

Trace trace(const std::function<at::Tensor(const Tensors &)> &function, const Tensors &inputs)
{
  const at::AutoGradMode gradients_on(true);
  Trace trace;
  for (const at::Tensor &input : inputs) trace.leaves.push_back(input.detach().requires_grad_());
  trace.value = function(trace.leaves);
  return trace;
}

Tensors pull_back(const Trace &trace, const at::Tensor &gradient)
{
  return torch::autograd::grad({trace.value}, trace.leaves, {gradient});
}

}    // namespace uma
