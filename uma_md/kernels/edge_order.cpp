// SPDX-License-Identifier: MIT

#include "edge_order.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <tuple>

namespace uma::kernels {
namespace {

int64_t num_inner(const Edges &edges)
{
  return std::max<int64_t>(edges.num_inner, 0);
}

// 2 where some edges are inner and some are not.
int num_parts(const Edges &edges)
{
  return 0 < num_inner(edges) && edges.num_inner < edges.senders.numel() ? 2 : 1;
}

// Ends of edges in memory of the order's own: keys are added to in place, and what an order holds
// of a graph's memory could not serve the next graph.
at::Tensor own(const at::Tensor &rows)
{
  return rows.to(at::kInt, /*non_blocking=*/false, /*copy=*/true).contiguous();
}

// What edges are sorted by, int32: the receiver; of edges that come after others, behind all these.
at::Tensor keys_of(const Edges &edges)
{
  auto keys = own(edges.receivers);
  if (num_parts(edges) == 1) return keys;
  const int64_t inner = num_inner(edges);
  keys.narrow(0, inner, keys.numel() - inner).add_(edges.num_owned);
  return keys;
}

at::Tensor first_edges(const at::Tensor &keys, int64_t num_keys)
{
  auto starts = at::zeros({num_keys + 1}, keys.options());
  int *start = starts.data_ptr<int>();
  const int *key = keys.data_ptr<int>();
  for (int64_t e = 0; e < keys.numel(); e++) start[key[e] + 1]++;
  std::partial_sum(start, start + num_keys + 1, start);
  return starts;
}

std::vector<EdgeOrder::Block> cut(const int *all_starts, int num_owned, int parts, int most)
{
  std::vector<EdgeOrder::Block> blocks;
  for (int part = 0; part < parts; part++) {
    const int *starts = all_starts + part * num_owned;
    for (int first = 0; first < num_owned;) {
      int end = first + 1;
      while (end < num_owned && starts[end + 1] - starts[first] <= most) end++;
      if (starts[end] > starts[first])
        blocks.push_back({first, end, starts[first], starts[end], part});
      first = end;
    }
  }
  return blocks;
}

std::vector<EdgeOrder::Group> gather(const std::vector<EdgeOrder::Block> &blocks, int inner_edges,
                                     int most_inner, int most_others)
{
  std::vector<EdgeOrder::Group> groups;
  for (int first = 0; first < int(blocks.size());) {
    const bool is_inner = blocks[first].first_edge < inner_edges;
    const int most = is_inner ? most_inner : most_others;
    int end = first + 1;
    while (end < int(blocks.size()) && blocks[end].part == blocks[first].part &&
           blocks[end].end_edge - blocks[first].first_edge <= most)
      end++;
    groups.push_back({first, end, blocks[first].first_edge, blocks[end - 1].end_edge, {}, {}});
    first = end;
  }
  return groups;
}

void sort_by_sender(EdgeOrder::Group &group, const int *senders)
{
  const int num = group.end_edge - group.first_edge;
  const int *sender = senders + group.first_edge;
  group.by_sender.resize(num);
  std::iota(group.by_sender.begin(), group.by_sender.end(), 0);
  std::sort(group.by_sender.begin(), group.by_sender.end(), [sender](int a, int b) {
    return sender[a] != sender[b] ? sender[a] < sender[b] : a < b;
  });
  for (int k = 0; k < num; k++) {
    const bool first = k == 0 || sender[group.by_sender[k]] != sender[group.by_sender[k - 1]];
    if (first) group.starts.push_back(k);
  }
  group.starts.push_back(num);
}

// First of each value in a sorted tensor, and the end.
at::Tensor first_of_each(const at::Tensor &sorted, int64_t values)
{
  return at::searchsorted(sorted, at::arange(values + 1, sorted.options()), /*out_int32=*/true);
}

void check_number(int64_t num_edges)
{
  if (num_edges >= std::numeric_limits<int>::max()) {
    throw std::runtime_error("the kernels take up to 2147483647 edges per rank");
  }
}

int count_inner(const std::vector<EdgeOrder::Group> &groups, int64_t inner_edges)
{
  return int(std::count_if(groups.begin(), groups.end(),
                           [=](const auto &group) { return group.first_edge < inner_edges; }));
}

}    // namespace

EdgeOrder order_on_cpu(const Edges &edges, int block, int group, int inner_group)
{
  check_number(edges.senders.numel());
  EdgeOrder order;
  order.senders = own(edges.senders);
  order.receivers = own(edges.receivers);
  auto keys = keys_of(edges);
  const int *key = keys.data_ptr<int>();
  if (!std::is_sorted(key, key + keys.numel())) {
    order.permutation = at::argsort(keys, /*stable=*/true, 0, false);
    keys = keys.index_select(0, order.permutation);
    order.senders = order.senders.index_select(0, order.permutation);
    order.receivers = order.receivers.index_select(0, order.permutation);
  }
  const int parts = num_parts(edges);
  order.starts = first_edges(keys, parts * edges.num_owned);
  order.blocks = cut(order.starts.data_ptr<int>(), int(edges.num_owned), parts, block);
  order.groups = gather(order.blocks, int(num_inner(edges)), inner_group, group);
  order.inner_groups = count_inner(order.groups, num_inner(edges));
  order.block_limit = block;
  order.group_limit = std::max(group, inner_group);
  for (const auto &b : order.blocks) {
    order.largest_block = std::max(order.largest_block, b.end_edge - b.first_edge);
  }
  for (const auto &g : order.groups) {
    order.largest_group = std::max(order.largest_group, g.end_edge - g.first_edge);
  }
  const int *sender = order.senders.data_ptr<int>();
  at::parallel_for(0, int64_t(order.groups.size()), 1, [&](int64_t first, int64_t end) {
    for (int64_t k = first; k < end; k++) sort_by_sender(order.groups[k], sender);
  });
  return order;
}

EdgeOrder order_on_gpu(const Edges &edges, int block)
{
  const int64_t num_edges = std::max(edges.senders.numel(), edges.room);
  const int64_t num_rows = edges.atomic_numbers.numel();
  check_number(num_edges);
  EdgeOrder order;
  at::Tensor keys;
  std::tie(keys, order.permutation) = at::sort(keys_of(edges), /*stable=*/true, 0, false);
  order.senders = edges.senders.to(at::kInt).index_select(0, order.permutation);
  const int parts = num_parts(edges);
  order.receivers =
      parts == 1 ? keys : edges.receivers.to(at::kInt).index_select(0, order.permutation);
  order.starts = first_of_each(keys, parts * edges.num_owned);
  const auto [sorted, by_sender] = at::sort(order.senders, /*stable=*/true, 0, false);
  order.by_sender = by_sender.to(at::kInt);
  order.sender_starts = first_of_each(sorted, num_rows);
  order.num_rows = int(num_rows);
  const int end_of_all = int(num_edges), inner = int(num_inner(edges));
  for (int first = 0, end; first < end_of_all; first = end) {
    const int number = int(order.blocks.size()), stop = first < inner ? inner : end_of_all;
    end = std::min(stop - first, block) + first;
    order.blocks.push_back({0, int(edges.num_owned), first, end, first < inner ? 0 : parts - 1});
    order.groups.push_back({number, number + 1, first, end, {}, {}});
  }
  order.inner_groups = count_inner(order.groups, inner);
  order.largest_block = std::min(end_of_all, block);
  order.block_limit = block;
  return order;
}

}    // namespace uma::kernels
