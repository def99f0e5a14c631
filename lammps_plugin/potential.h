// SPDX-License-Identifier: GPL-2.0-only
// A model set up for one rank: where it computes, for which system, on which edges.

#ifndef UMA_POTENTIAL_H
#define UMA_POTENTIAL_H

#include "advice.h"
#include "edge_graph.h"
#include "evaluator.h"
#include "halo_exchange.h"
#include "host_memory.h"
#include "memory_planner.h"
#include "options.h"
#include "placement.h"
#include "scripted_model.h"

#include "kernels/side_stream.h"

#include <array>
#include <memory>
#include <mpi.h>
#include <string>
#include <vector>

namespace uma {

struct Result {
  double energy = 0.0;               // of the owned atoms, eV
  at::Tensor energies;               // (owned,), eV
  at::Tensor forces;                 // (atoms, 3), eV/angstrom, ghosts included
  std::array<double, 9> virial{};    // of the edges, row by row, eV
  at::Tensor atom_virials;           // (atoms, 3, 3), eV, ghosts included; where asked for
  double coincident = 0.0;           // whether atoms are at the same position
  double neighbors = 0.0;            // most of an owned atom
};

class Potential {
 public:
  // Collective over the node. Throws std::runtime_error when the file or the device cannot serve.
  Potential(const std::string &file, const Options &options, Placement placement,
            std::shared_ptr<const NodeRanks> node);

  const Metadata &metadata() const { return model_.metadata(); }
  // Atomic number of an element's symbol. Throws std::runtime_error for elements not known.
  int atomic_number(const std::string &symbol) const;

  // Collective: sets up the exchange of rows between ranks.
  void connect(MPI_Comm world);

  // Collective over the node: sets how many atoms of each atomic number the whole system has.
  // Throws std::runtime_error on all of its ranks when the model cannot serve them.
  void set_composition(const std::vector<int64_t> &counts);
  bool has_composition(const std::vector<int64_t> &counts) const { return counts == counts_; }

  // Collective, after re-neighboring: 'candidates' without rows, and who owns each of LAMMPS's
  // atoms.
  void set_candidates(EdgeGraph::Candidates candidates, const std::vector<Owner> &owners);

  // Collective. positions: LAMMPS's array of 'num_atoms' times 3 numbers.
  Result evaluate(const double *positions, int64_t num_atoms, bool with_atom_virials);

  // Throws when atoms are at the same position, or the model was not made for so many neighbors, or
  // none.
  void check_graph(const Result &result) const;

  // Throws when the energy or a force is NaN or infinite.
  void check_values(const Result &result) const;

  int threads() const { return placement_.threads; }

  // How often experts were merged, and how long that took.
  struct Merges {
    int64_t count = 0;
    double seconds = 0.0;
  };
  const Merges &merges() const { return merges_; }

  // Of the last evaluation.
  const Load &load() const { return load_; }

  // What was chosen, one line each, for the log. Collective over 'world'.
  std::string description(MPI_Comm world) const;
  // What is served, as far as it is known here.
  Situation situation() const;
  double memory_usage() const { return graph_.memory_usage(); }

 private:
  void merge(const std::vector<int64_t> &counts);
  void make_stages();
  at::Tensor on_device(const double *positions, int64_t num_atoms);
  Result evaluate_graph(const double *positions, int64_t num_atoms, bool with_atom_virials);
  Result read(const Evaluation &evaluation, int64_t num_atoms, bool with_atom_virials) const;
  std::string describe_devices(MPI_Comm world) const;
  std::string describe_engine() const;
  std::string describe_precision() const;
  std::string describe_memory(MPI_Comm world) const;
  void check_composition(const std::vector<int64_t> &counts) const;
  std::string formula(const std::vector<int64_t> &counts) const;

  Options options_;
  Placement placement_;
  std::shared_ptr<const NodeRanks> node_;
  ScriptedModel model_;
  EdgeGraph graph_;
  std::unique_ptr<HaloExchange> exchange_;
  std::unique_ptr<Evaluator> evaluator_;
  std::unique_ptr<kernels::Stages> stages_;    // of the merged network
  std::vector<int64_t> counts_;
  int64_t natoms_ = 0;
  Merges merges_;
  Load load_;
  MemoryPlanner plan_;
  kernels::SideStream stream_;
  HostBuffer positions_;
};

}    // namespace uma

#endif
