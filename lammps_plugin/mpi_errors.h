// SPDX-License-Identifier: GPL-2.0-only
// Errors of MPI end the run on all ranks: others may wait for a message that does not come.

#ifndef UMA_MPI_ERRORS_H
#define UMA_MPI_ERRORS_H

#include <array>
#include <mpi.h>
#include <vector>

namespace uma {

// Ends the run on all ranks with MPI's own words, unless a call was successful.
void or_end(int code);
// Of a call on several requests, which end in different ways.
void or_end(int code, const std::vector<MPI_Status> &ends);

// While it exists, calls on requests return their errors. By default they end this rank alone,
// which some launchers do not notice. A request has no communicator that they would go to: MPI 4
// takes MPI_COMM_SELF's handler of errors, earlier ones take MPI_COMM_WORLD's.
class ReturnedErrors {
 public:
  ReturnedErrors();
  ~ReturnedErrors();
  ReturnedErrors(const ReturnedErrors &) = delete;
  ReturnedErrors &operator=(const ReturnedErrors &) = delete;

 private:
  std::array<MPI_Errhandler, 2> before_;
};

// A launcher that sees one rank end may drop what others still had to say: time to pass it on.
void let_launcher_read();

}    // namespace uma

#endif
