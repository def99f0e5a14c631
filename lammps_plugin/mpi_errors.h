// SPDX-License-Identifier: GPL-2.0-only
// Errors of MPI end the run on all ranks: others may wait for a message that does not come.

#ifndef UMA_MPI_ERRORS_H
#define UMA_MPI_ERRORS_H

#include <mpi.h>
#include <vector>

namespace uma {

// Ends the run on all ranks with MPI's own words, unless a call was successful.
void or_end(int code);
// Of a call on several requests, which end in different ways.
void or_end(int code, const std::vector<MPI_Status> &ends);

// While it exists, calls on requests return their errors, to 'or_end'. MPICH does not ask the
// request's communicator, but MPI_COMM_WORLD if MPI_COMM_SELF has no handler of its own; by default
// it then ends this rank alone, which its launcher may not notice.
class ReturnedErrors {
 public:
  ReturnedErrors();
  ~ReturnedErrors();
  ReturnedErrors(const ReturnedErrors &) = delete;
  ReturnedErrors &operator=(const ReturnedErrors &) = delete;

 private:
  MPI_Errhandler before_;
};

// A launcher that sees one rank end may drop what others still had to say: time to pass it on.
void let_launcher_read();

}    // namespace uma

#endif
