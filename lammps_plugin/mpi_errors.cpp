// SPDX-License-Identifier: GPL-2.0-only

#include "mpi_errors.h"

#include <chrono>
#include <cstdio>
#include <thread>

namespace uma {

void or_end(int code)
{
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  std::fprintf(stderr, "pair_style uma: communication between MPI ranks failed: %s\n", text);
  std::fflush(stderr);
  let_launcher_read();
  MPI_Abort(MPI_COMM_WORLD, 1);
}

void or_end(int code, const std::vector<MPI_Status> &ends)
{
  for (size_t k = 0; code == MPI_ERR_IN_STATUS && k < ends.size(); k++) {
    if (ends[k].MPI_ERROR != MPI_ERR_PENDING) or_end(ends[k].MPI_ERROR);
  }
  or_end(code);
}

ReturnedErrors::ReturnedErrors()
{
  MPI_Comm_get_errhandler(MPI_COMM_WORLD, &before_);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
}

ReturnedErrors::~ReturnedErrors()
{
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, before_);
  MPI_Errhandler_free(&before_);
}

void let_launcher_read()
{
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
}

}    // namespace uma
