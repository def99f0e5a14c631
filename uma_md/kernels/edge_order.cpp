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

at::Tensor first_edges(const at::Tensor &receivers, int64_t num_owned)
{
  auto starts = at::zeros({num_owned + 1}, receivers.options());
  int *start = starts.data_ptr<int>();
  const int *receiver = receivers.data_ptr<int>();
  for (int64_t e = 0; e < receivers.numel(); e++) start[receiver[e] + 1]++;
  std::partial_sum(start, start + num_owned + 1, start);
  return starts;
}

std::vector<EdgeOrder::Block> cut(const int *starts, int num_owned, int most)
{
  std::vector<EdgeOrder::Block> blocks;
  for (int first = 0; first < num_owned;) {
    int end = first + 1;
    while (end < num_owned && starts[end + 1] - starts[first] <= most) end++;
    if (starts[end] > starts[first]) blocks.push_back({first, end, starts[first], starts[end]});
    first = end;
  }
  return blocks;
}

std::vector<EdgeOrder::Group> gather(const std::vector<EdgeOrder::Block> &blocks, int most)
{
  std::vector<EdgeOrder::Group> groups;
  for (int first = 0; first < int(blocks.size());) {
    int end = first + 1;
    while (end < int(blocks.size()) && blocks[end].end_edge - blocks[first].first_edge <= most)
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

}    // namespace

EdgeOrder order_on_cpu(const at::Tensor &senders, const at::Tensor &receivers, int64_t num_owned,
                       int block, int group)
{
  check_number(senders.numel());
  EdgeOrder order;
  order.senders = senders.to(at::kInt).contiguous();
  order.receivers = receivers.to(at::kInt).contiguous();
  const int *receiver = order.receivers.data_ptr<int>();
  if (!std::is_sorted(receiver, receiver + order.receivers.numel())) {
    order.permutation = at::argsort(order.receivers, /*stable=*/true, 0, false);
    order.senders = order.senders.index_select(0, order.permutation);
    order.receivers = order.receivers.index_select(0, order.permutation);
  }
  order.starts = first_edges(order.receivers, num_owned);
  order.blocks = cut(order.starts.data_ptr<int>(), int(num_owned), block);
  order.groups = gather(order.blocks, group);
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

EdgeOrder order_on_gpu(const at::Tensor &senders, const at::Tensor &receivers, int64_t num_owned,
                       int64_t num_rows, int block, int64_t room)
{
  const int64_t num_edges = std::max(senders.numel(), room);
  check_number(num_edges);
  EdgeOrder order;
  std::tie(order.receivers, order.permutation) =
      at::sort(receivers.to(at::kInt), /*stable=*/true, 0, false);
  order.senders = senders.to(at::kInt).index_select(0, order.permutation);
  order.starts = first_of_each(order.receivers, num_owned);
  const auto [sorted, by_sender] = at::sort(order.senders, /*stable=*/true, 0, false);
  order.by_sender = by_sender.to(at::kInt);
  order.sender_starts = first_of_each(sorted, num_rows);
  order.num_rows = int(num_rows);
  const int end_of_all = int(num_edges);
  for (int first = 0; first < end_of_all; first += block) {
    const int number = int(order.blocks.size()), end = std::min(end_of_all - first, block) + first;
    order.blocks.push_back({0, int(num_owned), first, end});
    order.groups.push_back({number, number + 1, first, end, {}, {}});
  }
  order.largest_block = std::min(end_of_all, block);
  return order;
}

}    // namespace uma::kernels
