// SPDX-License-Identifier: GPL-2.0-only
// Several models of one task as one potential: the mean of its members.

#ifndef UMA_COMMITTEE_H
#define UMA_COMMITTEE_H

#include "deviations.h"
#include "potential.h"

#include <memory>
#include <mpi.h>
#include <optional>
#include <string>
#include <vector>

namespace uma {

// Members are evaluated one after the other, each with its own exchange between ranks, so that
// they may have different numbers of layers. One member is a plain Potential.
class Committee {
 public:
  // Collective over the node. Throws std::runtime_error when a file or the device cannot serve, or
  // when members differ in task, cutoff, precision, elements, charge or spin.
  Committee(const std::vector<std::string> &files, const Options &options, Placement placement,
            const std::shared_ptr<const NodeRanks> &node);

  // What all members agree in.
  const Metadata &metadata() const { return members_.front()->metadata(); }
  int atomic_number(const std::string &symbol) const
  {
    return members_.front()->atomic_number(symbol);
  }
  int threads() const { return members_.front()->threads(); }

  // As those of Potential, for all members.
  void connect(MPI_Comm world);
  void set_composition(const std::vector<int64_t> &counts);
  bool has_composition(const std::vector<int64_t> &counts) const;
  void set_candidates(const EdgeGraph::Candidates &candidates, const std::vector<Owner> &owners);
  Result evaluate(const double *positions, int64_t num_atoms, bool with_atom_virials);
  void check_graph(const Result &result) const;
  void check_values(const Result &result) const;
  Potential::Merges merges() const;
  Load load() const;
  Situation situation() const { return members_.front()->situation(); }
  std::string description(MPI_Comm world) const;
  double memory_usage() const;

  // Of the latest evaluation; nothing where there is one member.
  Deviations *deviations() { return deviations_ ? &*deviations_ : nullptr; }
  // Where they are to be written, if they are.
  DeviationFile *file() { return file_ ? &*file_ : nullptr; }

 private:
  void check_alike(const Options &options) const;

  std::vector<std::string> files_;
  std::vector<std::unique_ptr<Potential>> members_;
  std::optional<Deviations> deviations_;
  std::optional<DeviationFile> file_;
};

}    // namespace uma

#endif
