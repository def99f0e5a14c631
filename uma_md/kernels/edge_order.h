// SPDX-License-Identifier: MIT
// In which order edges are handled: sorted by receiver and cut into blocks; blocks in groups, in
// which edges are summed by sender. Edges that need no rows of remote atoms come before the others
// where they are told apart; each of the two parts is sorted by itself.

#ifndef UMA_KERNELS_EDGE_ORDER_H
#define UMA_KERNELS_EDGE_ORDER_H

#include "stages.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace uma::kernels {

struct EdgeOrder {
  struct Block {
    int first_receiver, end_receiver;
    int first_edge, end_edge;
    int part = 0;    // 1 of edges that come after others
  };

  // Blocks whose edges are summed onto their senders together.
  struct Group {
    int first_block, end_block;
    int first_edge, end_edge;
    std::vector<int> by_sender;    // edges of the group, counted from its first, sorted by sender
    std::vector<int> starts;       // of each sender's run in it, and the end
  };

  at::Tensor permutation;           // of edges that were not sorted by receiver; else undefined
  at::Tensor senders, receivers;    // int32, in this order
  at::Tensor starts;                // int32: first edge of each receiver by part, and the end
  at::Tensor by_sender;             // int32, on a GPU: all edges sorted by sender
  at::Tensor sender_starts;         // int32, on a GPU: first of each row's in it, and the end
  std::vector<Block> blocks;
  std::vector<Group> groups;
  int inner_groups = 0;     // of inner edges, which come first
  int largest_block = 0;    // edges
  int largest_group = 0;    // edges whose rows are set one by one
  int block_limit = 0;      // edges of a block of several receivers
  int group_limit = 0;      // edges of a group of several blocks
  int num_rows = 0;
};

// Blocks are cut at receivers and have up to 'block' edges, or those of one receiver; groups have
// up to 'group' or one block, those of inner edges up to 'inner_group'.
EdgeOrder order_on_cpu(const Edges &edges, int block, int group, int inner_group);

// Blocks are cut anywhere, of 'edges.room' edges where there are fewer; nothing waits for the
// device.
EdgeOrder order_on_gpu(const Edges &edges, int block);

}    // namespace uma::kernels

#endif
