// SPDX-License-Identifier: GPL-2.0-only
// Errors of MPI end the run on all ranks: others may wait for a message that does not come.

#ifndef UMA_MPI_ERRORS_H
#define UMA_MPI_ERRORS_H

#include <mpi.h>
#include <span>

namespace uma {

// Ends the run on all ranks with MPI's own words, unless a call was successful.
void or_end(int code);

// Whether all requests are done, or waits for them. An error of one ends the run on all ranks, too.
bool are_done(std::span<MPI_Request> requests);
void wait_for_all(std::span<MPI_Request> requests);

// A launcher that sees one rank end may drop what others still had to say: time to pass it on.
void let_launcher_read();

}    // namespace uma

#endif
