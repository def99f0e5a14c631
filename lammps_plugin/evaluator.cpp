// SPDX-License-Identifier: GPL-2.0-only

#include "evaluator.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>
#include <ATen/record_function.h>
#include <utility>

namespace uma {

using at::Tensor;
using kernels::EdgeStages;

Evaluator::Evaluator(ScriptedModel &model, HaloExchange &exchange) :
    model_(model),
    exchange_(exchange)
{
}

Evaluation Evaluator::operator()(const EdgeGraph &graph, EdgeStages &edges, const Plan &plan,
                                 int64_t natoms)
{
  const at::NoGradGuard no_grad;
  natoms_ = natoms;
  traces_.clear();
  edges.set_edges({graph.vectors(), graph.senders(), graph.receivers(), graph.atomic_numbers(),
                   graph.num_owned()},
                  plan.chunk);
  const auto x = forward(graph, edges, plan.keep);
  const auto [energies, g] = readout(graph, x);
  reverse(edges, g);
  return {energies, edges.gradients().to(at::kDouble)};
}

// Energies, and their gradient with respect to x.
std::pair<Tensor, Tensor> Evaluator::readout(const EdgeGraph &graph, const Tensor &x)
{
  RECORD_USER_SCOPE("readout");
  const auto energies =
      trace([&](const Tensors &in) { return model_.readout(in[0], graph.owned_numbers()); }, {x});
  return {energies.value.detach(), pull_back(energies, at::ones_like(energies.value))[0]};
}

Tensor Evaluator::forward(const EdgeGraph &graph, EdgeStages &edges, kernels::Keep keep)
{
  auto x = model_.embed(graph.owned_numbers());
  {
    RECORD_USER_SCOPE("embed");
    x = x + edges.embedding();
  }
  for (int64_t layer = 0; layer < model_.num_layers(); layer++) {
    const auto h = exchange_.forward(model_.normalize(layer, x));
    LayerTrace trace{x, h, {}, {}, {}};
    {
      RECORD_USER_SCOPE("messages");
      trace.m = edges.messages(layer, h, keep);
    }
    x = update(layer, trace, x);
    traces_.push_back(std::move(trace));
  }
  return x;
}

Tensor Evaluator::update(int64_t layer, LayerTrace &trace, const Tensor &x)
{
  RECORD_USER_SCOPE("update");
  const auto updated = model_.update(layer, x, trace.m);
  if (model_.num_balanced() == 0) return updated;
  trace.updated = updated;
  trace.sums = exchange_.sum(model_.channel_sums(updated));
  return model_.balance(updated, trace.sums, natoms_);
}

void Evaluator::reverse(EdgeStages &edges, Tensor g)
{
  for (int64_t layer = model_.num_layers() - 1; layer >= 0; layer--) {
    g = reverse_layer(edges, layer, traces_.back(), g);
    traces_.pop_back();
  }
  RECORD_USER_SCOPE("embed");
  edges.reverse_embedding(g);
}

Tensor Evaluator::reverse_layer(EdgeStages &edges, int64_t layer, const LayerTrace &trace,
                                const Tensor &g)
{
  const auto g_update = reverse_update(layer, trace, g);
  Tensor g_rows;
  {
    RECORD_USER_SCOPE("messages");
    g_rows = edges.reverse_messages(layer, trace.h, g_update[1]);
  }
  const auto normalize =
      uma::trace([&](const Tensors &in) { return model_.normalize(layer, in[0]); }, {trace.x});
  return g_update[0] + pull_back(normalize, exchange_.reverse(g_rows))[0];
}

// Gradients with respect to x and m.
Tensors Evaluator::reverse_update(int64_t layer, const LayerTrace &trace, Tensor g)
{
  RECORD_USER_SCOPE("update");
  if (model_.num_balanced() > 0) g = reverse_balance(trace, g);
  const auto update = uma::trace(
      [&](const Tensors &in) { return model_.update(layer, in[0], in[1]); }, {trace.x, trace.m});
  return pull_back(update, g);
}

Tensor Evaluator::reverse_balance(const LayerTrace &trace, const Tensor &g)
{
  const auto balance =
      uma::trace([&](const Tensors &in) { return model_.balance(in[0], in[1], natoms_); },
                 {trace.updated, trace.sums});
  const auto g_balance = pull_back(balance, g);
  const auto sums =
      uma::trace([&](const Tensors &in) { return model_.channel_sums(in[0]); }, {trace.updated});
  return g_balance[0] + pull_back(sums, exchange_.sum(g_balance[1]))[0];
}

}    // namespace uma
