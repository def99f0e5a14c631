// SPDX-License-Identifier: MIT
// Which of the pairs that may be edges are within the cutoff, on CPUs.

#ifndef UMA_KERNELS_EDGE_SELECTION_H
#define UMA_KERNELS_EDGE_SELECTION_H

#include "buffer.h"

#include <ATen/core/Tensor.h>
#include <array>
#include <cstdint>

namespace uma::kernels {

// Pairs of points that may be edges. Receivers are among the first points.
struct CandidatePairs {
  at::Tensor receivers, senders;    // (pairs,) int32
  at::Tensor points;                // (points, 3) float64, angstrom
  int64_t num_receivers;
  at::Tensor rows = {};    // (points,) int32: what a point is called as a sender; itself by default
  at::Tensor ranges = {};    // (ranges, 2) int64: first pairs and ends of those to look at; all by
                             // default
};

struct SelectedEdges {
  at::Tensor vectors;               // (edges, 3) float64, from receiver to sender, angstrom
  at::Tensor senders, receivers;    // (edges,) int32
  at::Tensor nearest;               // (parts,) float64: least squared distances of edges
  at::Tensor neighbors;             // (receivers,) int64: edges of each
};

// Selects edges in the order of the pairs. Memory of earlier calls' edges serves again; what is
// still held stays as it is.
class __attribute__((visibility("default"))) EdgeSelection {
 public:
  SelectedEdges operator()(const CandidatePairs &pairs, double cutoff);

  int64_t bytes() const;

 private:
  struct Memory {
    Buffer vectors, senders, receivers;

    bool held() const;
    int64_t bytes() const;
    void reserve(int64_t edges);
  };
  Memory &free_memory();

  std::array<Memory, 2> memories_;
};

}    // namespace uma::kernels

#endif
