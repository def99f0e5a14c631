// SPDX-License-Identifier: GPL-2.0-only

#include "mpi_errors.h"

#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

namespace uma {
namespace {

// While it exists, calls on requests return their errors. MPICH does not ask the request's
// communicator, but MPI_COMM_WORLD if MPI_COMM_SELF has no handler of its own; by default it then
// ends this rank alone, which its launcher may not notice.
class ReturnedErrors {
 public:
  ReturnedErrors()
  {
    MPI_Comm_get_errhandler(MPI_COMM_WORLD, &before_);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  ~ReturnedErrors()
  {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, before_);
    MPI_Errhandler_free(&before_);
  }
  ReturnedErrors(const ReturnedErrors &) = delete;
  ReturnedErrors &operator=(const ReturnedErrors &) = delete;

 private:
  MPI_Errhandler before_;
};

// Calls 'finish' with the requests' number, the requests and where their ends are told.
void complete(std::span<MPI_Request> requests, const auto &finish)
{
  std::vector<MPI_Status> ends(requests.size());
  const ReturnedErrors returned;
  const int code = finish(int(requests.size()), requests.data(), ends.data());
  if (code == MPI_ERR_IN_STATUS) {
    for (const MPI_Status &end : ends) {
      if (end.MPI_ERROR != MPI_ERR_PENDING) or_end(end.MPI_ERROR);
    }
  }
  or_end(code);
}

}    // namespace

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

bool are_done(std::span<MPI_Request> requests)
{
  int all = 0;
  complete(requests, [&](int number, MPI_Request *first, MPI_Status *ends) {
    return MPI_Testall(number, first, &all, ends);
  });
  return all != 0;
}

void wait_for_all(std::span<MPI_Request> requests)
{
  complete(requests, MPI_Waitall);
}

void let_launcher_read()
{
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
}

}    // namespace uma
