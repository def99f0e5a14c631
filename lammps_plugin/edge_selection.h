// SPDX-License-Identifier: GPL-2.0-only
// Which of the pairs that may be edges are within the cutoff.

#ifndef UMA_EDGE_SELECTION_H
#define UMA_EDGE_SELECTION_H

#include "kernels/edge_selection.h"

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace uma {

// Pairs of atoms, (pairs,), by LAMMPS's indices: int32, but for edges on a device.
struct Pairs {
  at::Tensor receivers, senders;

  int64_t size() const { return receivers.numel(); }
};

// Selects edges, in the order of the pairs.
class EdgeSelection {
 public:
  Pairs pairs;             // the edges
  at::Tensor vectors;      // (edges, 3) float64, position[sender] - position[receiver], angstrom
  at::Tensor nearest;      // squared distances, the least of all edges among them
  at::Tensor neighbors;    // (atoms,) int64: edges of each receiver

  // positions: (atoms, 3) float64, on the candidates' device.
  void select(const Pairs &candidates, const at::Tensor &positions, double cutoff);

  double bytes() const { return double(on_host_.bytes()); }

 private:
  void select_on_device(const Pairs &candidates, const at::Tensor &positions, double square);

  kernels::EdgeSelection on_host_;
};

}    // namespace uma

#endif
