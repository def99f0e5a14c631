// SPDX-License-Identifier: GPL-2.0-only
// Functions of tensors, called with gradients on, and their gradients.

#ifndef UMA_TRACE_H
#define UMA_TRACE_H

#include <ATen/core/Tensor.h>
#include <functional>
#include <vector>

namespace uma {

using Tensors = std::vector<at::Tensor>;

// A value, and the leaves that it was computed from with gradients on.
struct Trace {
  at::Tensor value;
  Tensors leaves;
};

Trace trace(const std::function<at::Tensor(const Tensors &)> &function, const Tensors &inputs);

// Gradients with respect to the leaves, from the gradient with respect to the value.
Tensors pull_back(const Trace &trace, const at::Tensor &gradient);

}    // namespace uma

#endif
