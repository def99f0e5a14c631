// SPDX-License-Identifier: GPL-2.0-only

#include "evaluator.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
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
  const auto [energies, g] = [&] {
    RECORD_USER_SCOPE("readout");
    return edges.readout(x, graph.owned_numbers());
  }();
  reverse(edges, g);
  return {energies, edges.gradients().to(at::kDouble)};
}

Tensor Evaluator::forward(const EdgeGraph &graph, EdgeStages &edges, kernels::Keep keep)
{
  Tensor x;
  {
    RECORD_USER_SCOPE("embed");
    x = edges.embedding();
    x.add_(model_.embed(graph.owned_numbers()));
  }
  for (int64_t layer = 0; layer < model_.num_layers(); layer++) {
    const auto h = exchange_.forward(edges.normalize(layer, x));
    LayerTrace trace{x, h, {}};
    {
      RECORD_USER_SCOPE("messages");
      trace.m = edges.messages(layer, h, keep);
    }
    x = update(edges, layer, trace);
    traces_.push_back(std::move(trace));
  }
  return x;
}

Tensor Evaluator::update(EdgeStages &edges, int64_t layer, const LayerTrace &trace)
{
  RECORD_USER_SCOPE("update");
  auto updated = edges.update(layer, trace.x, trace.m);
  if (model_.num_balanced() > 0) balance(updated, exchange_.sum(model_.channel_sums(updated)));
  return updated;
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
  const auto g_update = reverse_update(edges, layer, trace, g);
  Tensor g_rows;
  {
    RECORD_USER_SCOPE("messages");
    g_rows = edges.reverse_messages(layer, trace.h, g_update);
  }
  return edges.reverse_normalize(layer, trace.x, exchange_.reverse(g_rows)).add_(g_update);
}

// Gradient with respect to x, which is that with respect to m.
Tensor Evaluator::reverse_update(EdgeStages &edges, int64_t layer, const LayerTrace &trace,
                                 Tensor g)
{
  RECORD_USER_SCOPE("update");
  if (model_.num_balanced() > 0) reverse_balance(g);
  return edges.reverse_update(layer, trace.x, trace.m, g);
}

// In place: recorded stages find their arguments where they gave them.
void Evaluator::balance(Tensor &x, const Tensor &sums)
{
  x.copy_(model_.balance(x, sums, natoms_));
}

// Balancing takes the mean off and adds a constant, and its reverse takes the mean off.
void Evaluator::reverse_balance(Tensor &g)
{
  balance(g, exchange_.sum(model_.channel_sums(g)) + model_.targets());
}

}    // namespace uma
