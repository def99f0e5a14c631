// SPDX-License-Identifier: MIT

#include "edge_order.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/argsort.h>
#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace uma::kernels {
namespace {

std::vector<int> first_edges(const at::Tensor &receivers, int64_t num_owned)
{
  std::vector<int> starts(num_owned + 1, 0);
  const int *receiver = receivers.data_ptr<int>();
  for (int64_t e = 0; e < receivers.numel(); e++) starts[receiver[e] + 1]++;
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  return starts;
}

std::vector<EdgeOrder::Block> cut(const std::vector<int> &starts, int most)
{
  std::vector<EdgeOrder::Block> blocks;
  const int num_owned = int(starts.size()) - 1;
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

}    // namespace

EdgeOrder::EdgeOrder(const at::Tensor &all_senders, const at::Tensor &all_receivers,
                     int64_t num_owned, int block, int group) :
    senders(all_senders.to(at::kInt).contiguous()),
    receivers(all_receivers.to(at::kInt).contiguous())
{
  if (all_senders.numel() >= std::numeric_limits<int>::max()) {
    throw std::runtime_error("the kernels take up to 2147483647 edges per rank");
  }
  const int *receiver = receivers.data_ptr<int>();
  if (!std::is_sorted(receiver, receiver + receivers.numel())) {
    permutation = at::argsort(receivers, /*stable=*/true, 0, false);
    senders = senders.index_select(0, permutation);
    receivers = receivers.index_select(0, permutation);
  }
  starts = first_edges(receivers, num_owned);
  blocks = cut(starts, block);
  groups = gather(blocks, group);
  for (const Block &b : blocks) largest_block = std::max(largest_block, b.end_edge - b.first_edge);
  for (const Group &g : groups) largest_group = std::max(largest_group, g.end_edge - g.first_edge);
  const int *sender = senders.data_ptr<int>();
  at::parallel_for(0, int64_t(groups.size()), 1, [&](int64_t first, int64_t end) {
    for (int64_t k = first; k < end; k++) sort_by_sender(groups[k], sender);
  });
}

}    // namespace uma::kernels
