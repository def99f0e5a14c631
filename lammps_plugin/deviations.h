// SPDX-License-Identifier: GPL-2.0-only
// How far the members of a committee are from their mean: standard deviations over the members,
// of which there are all, so that squares are divided by their number.

#ifndef UMA_DEVIATIONS_H
#define UMA_DEVIATIONS_H

#include <ATen/core/Tensor.h>
#include <array>
#include <cstdint>
#include <mpi.h>
#include <string>
#include <vector>

namespace uma {

struct Result;

// The file of deviations: a header, and a row for every step that is asked for. Its columns are
// those of DeePMD-kit's model_devi.out.
class DeviationFile {
 public:
  DeviationFile(std::string name, int64_t every) : name_(std::move(name)), every_(every) {}

  const std::string &name() const { return name_; }
  int64_t every() const { return every_; }
  // A minimizer evaluates a step several times: the first one counts, in each run.
  bool is_due(int64_t step) const { return step % every_ == 0 && step != latest_; }
  void begin_run() { latest_ = -1; }

  // On one rank. The first row of a run that begins at step 0 begins the file, otherwise rows are
  // added to what is there. Throws std::runtime_error when the file cannot be written.
  void write(int64_t step, const std::vector<double> &columns);

 private:
  std::string name_;
  int64_t every_, latest_ = -1;
  bool begun_ = false;
};

class Deviations {
 public:
  // Takes what each member gave for this rank's share: forces of ghosts included.
  void take(const std::vector<Result> &members);

  // Numbers of one atom that ghosts return to their owners.
  int size() const { return 3 * (num_members_ - 1); }
  int pack(int n, int first, double *buffer) const;
  void unpack(int n, const int *list, const double *buffer);

  // Collective, after ghosts' numbers were returned. 'is_seen' tells which of the owned atoms the
  // model sees; 'unit' is that of LAMMPS, per eV.
  void compare(MPI_Comm world, const std::vector<char> &is_seen, double unit);

  // Of the whole system, on every rank alike.
  struct Summary {
    double energy = 0.0;                                                   // per atom
    double largest_force = 0.0, mean_force = 0.0, least_force = 0.0;       // over atoms
    double largest_virial = 0.0, mean_virial = 0.0, least_virial = 0.0;    // per atom, over the
                                                                           // nine components
  };
  const Summary &summary() const { return summary_; }
  std::vector<double> columns() const;    // of the file, after the step

  // Of the force on each owned atom; 0 for those that the model does not see. Its data are never
  // null, which 'fix pair' takes for a name that is not known.
  std::vector<double> &forces() { return forces_; }

 private:
  static constexpr int EXTENSIVE = 10;    // energy and nine components of the virial

  void compare_forces(const std::vector<char> &is_seen, double unit);

  int num_members_ = 1;
  at::Tensor differences_;           // (atoms, members - 1, 3): forces less the first member's
  std::vector<double> extensive_;    // (members - 1, EXTENSIVE), likewise
  std::vector<double> forces_;
  Summary summary_;
};

}    // namespace uma

#endif
