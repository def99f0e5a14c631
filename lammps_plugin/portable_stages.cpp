// SPDX-License-Identifier: GPL-2.0-only

#include "portable_stages.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <utility>

namespace uma {

using at::Tensor;
using kernels::Keep;

int64_t PortableStages::bytes_per_edge(Keep keep) const
{
  return keep == Keep::Nothing ? 0 : model_.metadata().bytes_per_edge;
}

// The gradients of what is kept take about as much again.
int64_t PortableStages::bytes_at_work() const
{
  return 2 * model_.metadata().bytes_per_edge;
}

void PortableStages::set_edges(const kernels::Edges &edges, int64_t size)
{
  num_owned_ = edges.num_owned;
  gradients_ = at::zeros_like(edges.vectors);
  chunks_.clear();
  kept_.clear();
  const int64_t num_inner = std::max<int64_t>(edges.num_inner, 0);
  add_chunks(edges, 0, num_inner, size);
  inner_chunks_ = int64_t(chunks_.size());
  add_chunks(edges, num_inner, edges.senders.numel(), size);
}

void PortableStages::add_chunks(const kernels::Edges &edges, int64_t first, int64_t end,
                                int64_t size)
{
  for (; first < end; first += size) {
    const int64_t count = std::min(size, end - first);
    const auto senders = edges.senders.narrow(0, first, count);
    const auto receivers = edges.receivers.narrow(0, first, count);
    chunks_.push_back({first, count, senders, receivers, edges.vectors.narrow(0, first, count),
                       edges.atomic_numbers.index_select(0, senders),
                       edges.atomic_numbers.index_select(0, receivers)});
  }
}

std::pair<int64_t, int64_t> PortableStages::chunks_of(int64_t run) const
{
  return {run, run < inner_chunks_ ? run + 1 : int64_t(chunks_.size())};
}

Tensor PortableStages::zeros() const
{
  const int64_t degrees = model_.lmax() + 1;
  return at::zeros({num_owned_, degrees * degrees, model_.channels()}, gradients_.options());
}

Tensor PortableStages::embedding()
{
  auto x = zeros();
  for (const Chunk &c : chunks_) {
    x.index_add_(0, c.receivers,
                 model_.edge_embedding(c.vectors, c.sender_numbers, c.receiver_numbers));
  }
  return x;
}

Tensor PortableStages::messages(int64_t layer, const Tensor &h, Keep keep, int64_t run,
                                const Tensor &sums)
{
  auto m = sums.defined() ? sums : zeros();
  const auto [first, end] = chunks_of(run);
  for (int64_t k = first; k < end; k++) {
    const Chunk &c = chunks_[k];
    Tensor messages;
    if (keep == Keep::All) {
      auto &kept = kept_[{layer, k}];
      kept = traced_messages(layer, h, c);
      messages = kept.value.detach();
    } else {
      messages =
          model_.messages(layer, h.index_select(0, c.senders), h.index_select(0, c.receivers),
                          c.vectors, c.sender_numbers, c.receiver_numbers);
    }
    m.index_add_(0, c.receivers, messages);
  }
  return m;
}

Trace PortableStages::traced_messages(int64_t layer, const Tensor &h, const Chunk &c)
{
  return trace(
      [&](const Tensors &in) {
        return model_.messages(layer, in[0], in[1], in[2], c.sender_numbers, c.receiver_numbers);
      },
      {h.index_select(0, c.senders), h.index_select(0, c.receivers), c.vectors});
}

// What the forward sweep kept is used up.
Tensor PortableStages::reverse_messages(int64_t layer, const Tensor &h, const Tensor &g,
                                        int64_t run, const Tensor &sums)
{
  auto g_h = sums.defined() ? sums : at::zeros_like(h);
  const auto [first, end] = chunks_of(run);
  for (int64_t k = first; k < end; k++) {
    const Chunk &c = chunks_[k];
    const auto kept = kept_.extract({layer, k});
    const Trace messages = kept.empty() ? traced_messages(layer, h, c) : kept.mapped();
    const auto parts = pull_back(messages, g.index_select(0, c.receivers));
    // Sums of rows that are not contiguous are an order of magnitude slower.
    g_h.index_add_(0, c.senders, parts[0].contiguous());
    g_h.index_add_(0, c.receivers, parts[1].contiguous());
    gradients_.narrow(0, c.first, c.count).add_(parts[2]);
  }
  return g_h;
}

void PortableStages::reverse_embedding(const Tensor &g)
{
  for (const Chunk &c : chunks_) {
    const auto embedding = trace(
        [&](const Tensors &in) {
          return model_.edge_embedding(in[0], c.sender_numbers, c.receiver_numbers);
        },
        {c.vectors});
    gradients_.narrow(0, c.first, c.count)
        .add_(pull_back(embedding, g.index_select(0, c.receivers))[0]);
  }
}

Tensor PortableStages::normalize(int64_t layer, const Tensor &x)
{
  return model_.normalize(layer, x);
}

Tensor PortableStages::reverse_normalize(int64_t layer, const Tensor &x, const Tensor &g)
{
  const auto h = trace([&](const Tensors &in) { return model_.normalize(layer, in[0]); }, {x});
  return pull_back(h, g)[0];
}

Tensor PortableStages::update(int64_t layer, const Tensor &x, const Tensor &m)
{
  return model_.update(layer, x, m);
}

// Only x + m matters, so that the gradients with respect to both are the same.
Tensor PortableStages::reverse_update(int64_t layer, const Tensor &x, const Tensor &m,
                                      const Tensor &g)
{
  const auto updated =
      trace([&](const Tensors &in) { return model_.update(layer, in[0], m); }, {x});
  return pull_back(updated, g)[0];
}

std::pair<Tensor, Tensor> PortableStages::readout(const Tensor &x, const Tensor &atomic_numbers)
{
  const auto energies =
      trace([&](const Tensors &in) { return model_.readout(in[0], atomic_numbers); }, {x});
  return {energies.value.detach(), pull_back(energies, at::ones_like(energies.value))[0]};
}

}    // namespace uma
