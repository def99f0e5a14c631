// SPDX-License-Identifier: MIT
// In which order edges are handled: sorted by receiver and cut into blocks at receivers; blocks in
// groups, in which edges are summed by sender.

#ifndef UMA_KERNELS_EDGE_ORDER_H
#define UMA_KERNELS_EDGE_ORDER_H

#include <ATen/core/Tensor.h>
#include <vector>

namespace uma::kernels {

struct EdgeOrder {
  struct Block {
    int first_receiver, end_receiver;
    int first_edge, end_edge;
  };

  // Blocks whose edges are summed onto their senders together.
  struct Group {
    int first_block, end_block;
    int first_edge, end_edge;
    std::vector<int> by_sender;    // edges of the group, counted from its first, sorted by sender
    std::vector<int> starts;       // of each sender's run in it, and the end
  };

  // Blocks have up to 'block' edges, or those of one receiver, groups up to 'group' or one block.
  EdgeOrder(const at::Tensor &senders, const at::Tensor &receivers, int64_t num_owned, int block,
            int group);

  at::Tensor permutation;           // of edges that were not sorted by receiver; else undefined
  at::Tensor senders, receivers;    // int32, in this order
  std::vector<int> starts;          // first edge of each receiver, and the end
  std::vector<Block> blocks;
  std::vector<Group> groups;
  int largest_block = 0, largest_group = 0;    // edges
};

}    // namespace uma::kernels

#endif
