// SPDX-License-Identifier: GPL-2.0-only
// The directed edges within the cutoff, and what their gradients mean for atoms.

#ifndef UMA_EDGE_GRAPH_H
#define UMA_EDGE_GRAPH_H

#include "edge_selection.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

namespace uma {

// Edges go from a sender j to a receiver i that this rank owns: vector = position[j] -
// position[i], angstrom. An atom is named by LAMMPS's index (atoms, ghosts included) or by its row
// in the model's tensors (unique atoms, see HaloExchange).
class EdgeGraph {
 public:
  // Pairs that may come within the cutoff, and for each of LAMMPS's atoms its row.
  struct Candidates {
    Pairs pairs;                            // in the host's memory; inner ones first
    std::vector<int64_t> rows;              // of each of LAMMPS's atoms, -1 if it has none
    std::vector<int64_t> atomic_numbers;    // of each of LAMMPS's atoms
    int64_t num_owned = 0, num_rows = 0;
  };

  EdgeGraph(at::Device device, at::ScalarType dtype, double cutoff, int64_t max_neighbors);

  void set_candidates(const Candidates &candidates);

  // Selects the edges at these positions: (atoms, 3) float64, on the graph's device. Throws
  // std::runtime_error when there are more edges than the model was made for.
  void update(const at::Tensor &positions);

  // What 'check' looks at, (2,) float64: whether atoms are at the same position, most neighbors of
  // an atom. To be read with the results: to read it alone would wait for the device once more.
  at::Tensor extremes() const;

  // Throws std::runtime_error when atoms coincide or have more neighbors than the model was made
  // for.
  void check(double coincident, double neighbors) const;

  int64_t num_owned() const { return num_owned_; }
  int64_t num_edges() const { return vectors_.size(0); }
  // Edges that come first and whose senders are owned, too; -1 where there are no remote rows.
  int64_t num_inner() const { return num_inner_; }
  const at::Tensor &atomic_numbers() const { return atomic_numbers_; }    // (rows,)
  at::Tensor owned_numbers() const { return atomic_numbers_.narrow(0, 0, num_owned_); }
  const at::Tensor &vectors() const { return vectors_; }        // (edges, 3), the model's dtype
  const at::Tensor &senders() const { return senders_; }        // (edges,), rows: int32 on CPUs
  const at::Tensor &receivers() const { return receivers_; }    // (edges,), rows

  // From dE/dvector of each edge, (edges, 3) float64:
  at::Tensor forces(const at::Tensor &gradients) const;    // (atoms, 3), ghosts included
  at::Tensor virial(const at::Tensor &gradients) const;    // (3, 3)
  // Half of each edge's virial to each end: (atoms, 3, 3), ghosts included.
  at::Tensor atom_virials(const at::Tensor &gradients) const;

  double memory_usage() const;

 private:
  [[noreturn]] void refuse_crowd(const std::string &found) const;

  at::Device device_;
  at::ScalarType dtype_;
  double cutoff_;
  int64_t max_neighbors_;
  int64_t num_atoms_ = 0, num_owned_ = 0, num_inner_ = -1;
  bool has_remote_ = false;
  Pairs candidates_;
  at::Tensor rows_, atomic_numbers_;
  EdgeSelection edges_;
  at::Tensor vectors_, senders_, receivers_;
};

}    // namespace uma

#endif
