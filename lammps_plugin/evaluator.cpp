// SPDX-License-Identifier: GPL-2.0-only

#include "evaluator.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>
#include <algorithm>
#include <torch/csrc/autograd/autograd.h>
#include <utility>

namespace uma {

using at::Tensor;

Evaluator::Evaluator(ScriptedModel &model, HaloExchange &exchange) :
    model_(model),
    exchange_(exchange)
{
}

Evaluation Evaluator::operator()(const EdgeGraph &graph, const Plan &plan, int64_t natoms)
{
  const at::NoGradGuard no_grad;
  natoms_ = natoms;
  chunk_ = plan.chunk;
  traces_.clear();
  const auto x = forward(graph, plan.keep);
  const auto [energies, g] = readout(graph, x);
  return {energies, reverse(graph, g).to(at::kDouble)};
}

// Energies, and their gradient with respect to x.
std::pair<Tensor, Tensor> Evaluator::readout(const EdgeGraph &graph, const Tensor &x)
{
  RECORD_USER_SCOPE("readout");
  const auto energies =
      trace([&](const Tensors &in) { return model_.readout(in[0], graph.owned_numbers()); }, {x});
  return {energies.value.detach(), pull_back(energies, at::ones_like(energies.value))[0]};
}

Evaluator::Trace Evaluator::trace(const std::function<Tensor(const Tensors &)> &function,
                                  const Tensors &inputs)
{
  const at::AutoGradMode gradients_on(true);
  Trace trace;
  for (const Tensor &input : inputs) trace.leaves.push_back(input.detach().requires_grad_());
  trace.value = function(trace.leaves);
  return trace;
}

// Gradients with respect to the leaves, from the gradient with respect to the value.
Evaluator::Tensors Evaluator::pull_back(const Trace &trace, const Tensor &gradient)
{
  return torch::autograd::grad({trace.value}, trace.leaves, {gradient});
}

std::vector<Evaluator::Chunk> Evaluator::chunks(const EdgeGraph &graph) const
{
  std::vector<Chunk> chunks;
  for (int64_t first = 0; first < graph.num_edges(); first += chunk_) {
    const int64_t count = std::min(chunk_, graph.num_edges() - first);
    const auto senders = graph.senders().narrow(0, first, count);
    const auto receivers = graph.receivers().narrow(0, first, count);
    chunks.push_back({first, count, senders, receivers, graph.vectors().narrow(0, first, count),
                      graph.atomic_numbers().index_select(0, senders),
                      graph.atomic_numbers().index_select(0, receivers)});
  }
  return chunks;
}

Tensor Evaluator::forward(const EdgeGraph &graph, bool keep)
{
  const auto pieces = chunks(graph);
  auto x = embed(graph, pieces);
  for (int64_t layer = 0; layer < model_.num_layers(); layer++) {
    const auto h = exchange_.forward(model_.normalize(layer, x));
    LayerTrace trace{x, h, at::zeros_like(x), {}, {}, {}};
    gather_messages(pieces, layer, trace, keep);
    x = update(layer, trace, x);
    traces_.push_back(std::move(trace));
  }
  return x;
}

Tensor Evaluator::embed(const EdgeGraph &graph, const std::vector<Chunk> &chunks)
{
  RECORD_USER_SCOPE("embed");
  auto x = model_.embed(graph.owned_numbers());
  for (const Chunk &c : chunks) {
    x.index_add_(0, c.receivers,
                 model_.edge_embedding(c.vectors, c.sender_numbers, c.receiver_numbers));
  }
  return x;
}

void Evaluator::gather_messages(const std::vector<Chunk> &chunks, int64_t layer, LayerTrace &trace,
                                bool keep)
{
  RECORD_USER_SCOPE("messages");
  for (const Chunk &c : chunks) {
    Tensor messages;
    if (keep) {
      trace.kept.push_back(traced_messages(layer, trace.h, c));
      messages = trace.kept.back().value.detach();
    } else {
      messages = model_.messages(layer, trace.h.index_select(0, c.senders),
                                 trace.h.index_select(0, c.receivers), c.vectors, c.sender_numbers,
                                 c.receiver_numbers);
    }
    trace.m.index_add_(0, c.receivers, messages);
  }
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

Evaluator::Trace Evaluator::traced_messages(int64_t layer, const Tensor &h, const Chunk &c)
{
  return trace(
      [&](const Tensors &in) {
        return model_.messages(layer, in[0], in[1], in[2], c.sender_numbers, c.receiver_numbers);
      },
      {h.index_select(0, c.senders), h.index_select(0, c.receivers), c.vectors});
}

Tensor Evaluator::reverse(const EdgeGraph &graph, Tensor g)
{
  const auto pieces = chunks(graph);
  auto gradients = at::zeros_like(graph.vectors());
  for (int64_t layer = model_.num_layers() - 1; layer >= 0; layer--) {
    g = reverse_layer(pieces, layer, traces_.back(), g, gradients);
    traces_.pop_back();
  }
  reverse_edge_embedding(pieces, g, gradients);
  return gradients;
}

Tensor Evaluator::reverse_layer(const std::vector<Chunk> &chunks, int64_t layer, LayerTrace &trace,
                                const Tensor &g, Tensor &gradients)
{
  const auto g_update = reverse_update(layer, trace, g);
  const auto g_h =
      exchange_.reverse(reverse_messages(chunks, layer, trace, g_update[1], gradients));
  const auto normalize = Evaluator::trace(
      [&](const Tensors &in) { return model_.normalize(layer, in[0]); }, {trace.x});
  return g_update[0] + pull_back(normalize, g_h)[0];
}

// Gradients with respect to x and m.
Evaluator::Tensors Evaluator::reverse_update(int64_t layer, const LayerTrace &trace, Tensor g)
{
  RECORD_USER_SCOPE("update");
  if (model_.num_balanced() > 0) g = reverse_balance(trace, g);
  const auto update = Evaluator::trace(
      [&](const Tensors &in) { return model_.update(layer, in[0], in[1]); }, {trace.x, trace.m});
  return pull_back(update, g);
}

Tensor Evaluator::reverse_balance(const LayerTrace &trace, const Tensor &g)
{
  const auto balance =
      Evaluator::trace([&](const Tensors &in) { return model_.balance(in[0], in[1], natoms_); },
                       {trace.updated, trace.sums});
  const auto g_balance = pull_back(balance, g);
  const auto sums = Evaluator::trace([&](const Tensors &in) { return model_.channel_sums(in[0]); },
                                     {trace.updated});
  return g_balance[0] + pull_back(sums, exchange_.sum(g_balance[1]))[0];
}

// Gradient with respect to h; adds to 'gradients' that with respect to vectors.
Tensor Evaluator::reverse_messages(const std::vector<Chunk> &chunks, int64_t layer,
                                   LayerTrace &trace, const Tensor &g_m, Tensor &gradients)
{
  RECORD_USER_SCOPE("messages");
  auto g_h = at::zeros_like(trace.h);
  for (size_t k = 0; k < chunks.size(); k++) {
    const Chunk &c = chunks[k];
    const Trace messages = trace.kept.empty() ? traced_messages(layer, trace.h, c)
                                              : std::exchange(trace.kept[k], Trace());
    const auto parts = pull_back(messages, g_m.index_select(0, c.receivers));
    // Sums of rows that are not contiguous are an order of magnitude slower.
    g_h.index_add_(0, c.senders, parts[0].contiguous());
    g_h.index_add_(0, c.receivers, parts[1].contiguous());
    gradients.narrow(0, c.first, c.count).add_(parts[2]);
  }
  return g_h;
}

void Evaluator::reverse_edge_embedding(const std::vector<Chunk> &chunks, const Tensor &g,
                                       Tensor &gradients)
{
  RECORD_USER_SCOPE("embed");
  for (const Chunk &c : chunks) {
    const auto embedding = trace(
        [&](const Tensors &in) {
          return model_.edge_embedding(in[0], c.sender_numbers, c.receiver_numbers);
        },
        {c.vectors});
    gradients.narrow(0, c.first, c.count)
        .add_(pull_back(embedding, g.index_select(0, c.receivers))[0]);
  }
}

}    // namespace uma
