// SPDX-License-Identifier: MIT
// Which of the pairs that may be edges are within the cutoff, on CPUs.

#ifndef UMA_KERNELS_EDGE_SELECTION_H
#define UMA_KERNELS_EDGE_SELECTION_H

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace uma::kernels {

struct SelectedEdges {
  at::Tensor vectors;               // (edges, 3) float64, from receiver to sender, angstrom
  at::Tensor senders, receivers;    // (edges,) int64: rows
  at::Tensor nearest;               // (parts,) float64: least squared distances of edges
  at::Tensor neighbors;             // (owned,) int64: edges of each receiver
};

// Selects edges in the order of the pairs. 'receivers' and 'senders', (pairs,) int32, are points;
// 'points' (points, 3) float64 are rows and their images, whose rows are 'image_rows' (images,)
// int64. Receivers are among the first 'num_owned' rows. Some 'expected' edges are found in one
// sweep on one thread; 0 where their number is not known.
SelectedEdges select_edges(const at::Tensor &receivers, const at::Tensor &senders,
                           const at::Tensor &points, const at::Tensor &image_rows,
                           int64_t num_owned, double cutoff, int64_t expected);

}    // namespace uma::kernels

#endif
