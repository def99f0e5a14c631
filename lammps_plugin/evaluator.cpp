// SPDX-License-Identifier: GPL-2.0-only

#include "evaluator.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <utility>

namespace uma {

using at::Tensor;
using kernels::Stages;

Evaluator::Evaluator(ScriptedModel &model, HaloExchange &exchange) :
    model_(model),
    exchange_(exchange)
{
}

// Work that counts as the exchange's.
template <class Work> auto Evaluator::exchanged(const Work &work)
{
  const Stopwatch watch(load_.exchange);
  return work();
}

Evaluation Evaluator::operator()(const EdgeGraph &graph, Stages &stages, const Plan &plan,
                                 int64_t natoms)
{
  const at::NoGradGuard no_grad;
  natoms_ = natoms;
  traces_.clear();
  const auto before = exchange_.traffic();
  load_ = {.edges = graph.num_edges()};
  stages.set_edges({graph.vectors(), graph.senders(), graph.receivers(), graph.atomic_numbers(),
                    graph.num_owned(), /*room=*/0, graph.num_inner()},
                   plan.chunk);
  const auto x = forward(graph, stages, plan.keep);
  const auto [energies, g] = [&] {
    RECORD_USER_SCOPE("readout");
    return stages.readout(x, graph.owned_numbers());
  }();
  reverse(stages, g);
  load_.messages_sent = exchange_.traffic().messages_sent - before.messages_sent;
  load_.bytes_sent = exchange_.traffic().bytes_sent - before.bytes_sent;
  return {energies, stages.gradients().to(at::kDouble)};
}

Tensor Evaluator::forward(const EdgeGraph &graph, Stages &stages, kernels::Keep keep)
{
  Tensor x;
  {
    RECORD_USER_SCOPE("embed");
    x = stages.embedding();
    x.add_(model_.embed(graph.owned_numbers()));
  }
  for (int64_t layer = 0; layer < model_.num_layers(); layer++) {
    const auto sent = stages.normalize(layer, x);
    const auto transfer = exchanged([&] { return exchange_.start_forward(sent); });
    LayerTrace trace{x, transfer->rows(), {}};
    trace.m = messages(stages, layer, *transfer, keep);
    x = update(stages, layer, trace);
    traces_.push_back(std::move(trace));
  }
  return x;
}

// Along inner edges while rows of remote atoms travel; along the others when they are here.
Tensor Evaluator::messages(Stages &stages, int64_t layer, Transfer &transfer, kernels::Keep keep)
{
  Tensor m;
  const auto add = [&](int64_t run) {
    RECORD_USER_SCOPE("messages");
    const Stopwatch watch(load_.messages);
    m = stages.messages(layer, transfer.rows(), keep, run, m);
  };
  for (int64_t run = 0; run < stages.inner_runs(); run++) {
    add(run);
    exchanged([&] { transfer.test(); });
  }
  exchanged([&] { return transfer.wait(); });
  add(stages.inner_runs());
  return m;
}

Tensor Evaluator::update(Stages &stages, int64_t layer, const LayerTrace &trace)
{
  RECORD_USER_SCOPE("update");
  auto updated = stages.update(layer, trace.x, trace.m);
  if (model_.num_balanced() > 0) balance(updated, sum(model_.channel_sums(updated)));
  return updated;
}

void Evaluator::reverse(Stages &stages, Tensor g)
{
  for (int64_t layer = model_.num_layers() - 1; layer >= 0; layer--) {
    g = reverse_layer(stages, layer, traces_.back(), g);
    traces_.pop_back();
  }
  RECORD_USER_SCOPE("embed");
  stages.reverse_embedding(g);
}

Tensor Evaluator::reverse_layer(Stages &stages, int64_t layer, const LayerTrace &trace,
                                const Tensor &g)
{
  const auto g_update = reverse_update(stages, layer, trace, g);
  const auto g_h = reverse_messages(stages, layer, trace.h, g_update);
  return stages.reverse_normalize(layer, trace.x, g_h).add_(g_update);
}

// Gradients of remote rows are complete after the edges that need these, and travel while the
// others are computed.
Tensor Evaluator::reverse_messages(Stages &stages, int64_t layer, const Tensor &h, const Tensor &g)
{
  Tensor g_rows;
  const auto add = [&](int64_t run) {
    RECORD_USER_SCOPE("messages");
    const Stopwatch watch(load_.messages);
    g_rows = stages.reverse_messages(layer, h, g, run, g_rows);
  };
  add(stages.inner_runs());
  const auto transfer = exchanged([&] { return exchange_.start_reverse(g_rows); });
  for (int64_t run = 0; run < stages.inner_runs(); run++) {
    add(run);
    exchanged([&] { transfer->test(); });
  }
  return exchanged([&] { return transfer->wait(); });
}

// Gradient with respect to x, which is that with respect to m.
Tensor Evaluator::reverse_update(Stages &stages, int64_t layer, const LayerTrace &trace, Tensor g)
{
  RECORD_USER_SCOPE("update");
  if (model_.num_balanced() > 0) reverse_balance(g);
  return stages.reverse_update(layer, trace.x, trace.m, g);
}

Tensor Evaluator::sum(const Tensor &part)
{
  return exchanged([&] { return exchange_.sum(part); });
}

// In place: recorded stages find their arguments where they gave them.
void Evaluator::balance(Tensor &x, const Tensor &sums)
{
  x.copy_(model_.balance(x, sums, natoms_));
}

// Balancing takes the mean off and adds a constant, and its reverse takes the mean off.
void Evaluator::reverse_balance(Tensor &g)
{
  balance(g, sum(model_.channel_sums(g)) + model_.targets());
}

}    // namespace uma
