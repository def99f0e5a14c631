// SPDX-License-Identifier: GPL-2.0-only
// The ranks of a node, of which one reads and computes what all of them need.

#ifndef UMA_NODE_RANKS_H
#define UMA_NODE_RANKS_H

#include <ATen/core/Tensor.h>
#include <functional>
#include <mpi.h>
#include <string>
#include <vector>

namespace uma {

// All but the constructor and 'is_first' is collective over the node's ranks, and returns or throws
// on all of them. Ranks that wait for another rest meanwhile: it may need the core that they are
// on.
class NodeRanks {
 public:
  // Collective over 'world': those of its ranks that share this rank's memory.
  explicit NodeRanks(MPI_Comm world);
  ~NodeRanks();
  NodeRanks(const NodeRanks &) = delete;
  NodeRanks &operator=(const NodeRanks &) = delete;

  int size() const { return size_; }
  bool is_first() const { return rank_ == 0; }

  // Work of each rank: where it throws on some, all throw std::runtime_error with the text of the
  // first of them.
  void together(const std::function<void()> &work) const;
  void first_does(const std::function<void()> &work) const;

  // Gives what the first rank has to all.
  void share(std::string &bytes) const;
  void share(std::vector<at::Tensor> &tensors) const;    // in the host's memory

 private:
  void wait_for(MPI_Request request) const;
  void broadcast(void *bytes, size_t number) const;

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
};

}    // namespace uma

#endif
