// SPDX-License-Identifier: GPL-2.0-only
// The directed edges within the cutoff, and what their gradients mean for atoms.

#ifndef UMA_EDGE_GRAPH_H
#define UMA_EDGE_GRAPH_H

#include <cstdint>
#include <torch/types.h>
#include <vector>

namespace uma {

// Edges go from a sender j to a receiver i that this rank owns: vector = position[j] -
// position[i], angstrom. An atom is named by LAMMPS's index (atoms, ghosts included) or by its row
// in the model's tensors (unique atoms, see HaloExchange).
class EdgeGraph {
 public:
  // Pairs that may come within the cutoff, and for each of LAMMPS's atoms its row.
  struct Candidates {
    std::vector<int64_t> receivers, senders;    // LAMMPS's indices
    std::vector<int64_t> rows;                  // of each of LAMMPS's atoms, -1 if it has none
    std::vector<int64_t> atomic_numbers;        // of each of LAMMPS's atoms
    int64_t num_owned = 0, num_rows = 0;
  };

  EdgeGraph(torch::Device device, torch::ScalarType dtype, double cutoff, int64_t max_neighbors);

  void set_candidates(const Candidates &candidates);

  // Selects the edges at these positions: (atoms, 3) float64. Throws std::runtime_error when atoms
  // coincide or have more neighbors than the model was made for.
  void update(const torch::Tensor &positions);

  int64_t num_owned() const { return num_owned_; }
  int64_t num_edges() const { return vectors_.size(0); }
  const torch::Tensor &atomic_numbers() const { return atomic_numbers_; }    // (rows,)
  torch::Tensor owned_numbers() const { return atomic_numbers_.narrow(0, 0, num_owned_); }
  const torch::Tensor &vectors() const { return vectors_; }        // (edges, 3), the model's dtype
  const torch::Tensor &senders() const { return senders_; }        // (edges,), rows
  const torch::Tensor &receivers() const { return receivers_; }    // (edges,), rows

  // From dE/dvector of each edge, (edges, 3) float64:
  torch::Tensor forces(const torch::Tensor &gradients) const;    // (atoms, 3), ghosts included
  torch::Tensor virial(const torch::Tensor &gradients) const;    // (3, 3)
  // Half of each edge's virial to each end: (atoms, 3, 3), ghosts included.
  torch::Tensor atom_virials(const torch::Tensor &gradients) const;

  double memory_usage() const;

 private:
  void check(const torch::Tensor &squares) const;

  torch::Device device_;
  torch::ScalarType dtype_;
  double cutoff_;
  int64_t max_neighbors_;
  int64_t num_atoms_ = 0, num_owned_ = 0;
  torch::Tensor candidate_receivers_, candidate_senders_;    // LAMMPS's indices
  torch::Tensor rows_, atomic_numbers_;
  torch::Tensor receiver_atoms_, sender_atoms_;    // of the edges, LAMMPS's indices
  torch::Tensor exact_vectors_;                    // float64
  torch::Tensor vectors_, senders_, receivers_;
};

}    // namespace uma

#endif
