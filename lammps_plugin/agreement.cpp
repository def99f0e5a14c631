// SPDX-License-Identifier: GPL-2.0-only

#include "agreement.h"

#include "error.h"
#include "lammps.h"
#include "mpi_errors.h"
#include "pointers.h"

#include <cstdio>
#include <mpi.h>
#include <string_view>

using namespace LAMMPS_NS;

namespace uma {
namespace {

std::string without_trailing_space(std::string text)
{
  const size_t last = text.find_last_not_of(" \t\r\n");
  return last == std::string::npos ? std::string() : text.substr(0, last + 1);
}

// A TorchScript failure ends with its reason ("RuntimeError: ..."), after lines of source code.
std::string reason_of_script(const std::string &text)
{
  const size_t reason = text.rfind("RuntimeError: ");
  return reason == std::string::npos ? text : text.substr(reason);
}

// What to do when memory was short; empty for other failures.
std::string advice(const std::string &text)
{
  for (std::string_view sign : {"out of memory", "can't allocate memory", "bad_alloc"}) {
    if (text.find(sign) == std::string::npos) continue;
    return "; use more ranks or devices, 'recompute on' or a smaller 'chunk'";
  }
  return "";
}

// LAMMPS's error of all ranks, which rank 0 writes.
[[noreturn]] void stop_all(LAMMPS *lmp, const std::string &text)
{
  int nprocs;
  MPI_Comm_size(lmp->world, &nprocs);
  try {
    lmp->error->all(FLERR, text);
  } catch (...) {
    std::fflush(stdout);
    if (nprocs > 1) let_launcher_read();
    throw;
  }
}

}    // namespace

std::string readable(const std::exception &failure)
{
  std::string text = reason_of_script(failure.what());
  for (std::string_view trace : {"\nException raised from", "\nframe #"}) {
    text = text.substr(0, text.find(trace));
  }
  return without_trailing_space(text);
}

void all_or_none(LAMMPS *lmp, const std::function<void()> &work)
{
  all_or_none(lmp, std::vector<std::function<void()>>{work});
}

void all_or_none(LAMMPS *lmp, const std::vector<std::function<void()>> &parts)
{
  int me, nprocs;
  MPI_Comm_rank(lmp->world, &me);
  MPI_Comm_size(lmp->world, &nprocs);
  std::string text;
  const int none = nprocs * int(parts.size());
  int failed = none, done = 0;
  try {
    for (; done < int(parts.size()); done++) parts[done]();
  } catch (const std::exception &failure) {
    text = readable(failure);
    failed = done * nprocs + me;
  }
  int first = none;
  or_end(MPI_Allreduce(&failed, &first, 1, MPI_INT, MPI_MIN, lmp->world));
  if (first == none) return;
  first %= nprocs;
  int length = int(text.size());
  or_end(MPI_Bcast(&length, 1, MPI_INT, first, lmp->world));
  text.resize(length);
  or_end(MPI_Bcast(text.data(), length, MPI_CHAR, first, lmp->world));
  stop_all(lmp, text);
}

void or_abort(LAMMPS *lmp, const std::function<void()> &work)
{
  try {
    work();
  } catch (const LAMMPSException &) {
    throw;
  } catch (const std::exception &failure) {
    const std::string text = readable(failure);
    const bool named = text.rfind("pair_style uma", 0) == 0;
    const std::string sentence = (named ? "" : "pair_style uma failed: ") + text + advice(text);
    // Ranks other than 0 have no screen for LAMMPS's own line.
    int me;
    MPI_Comm_rank(lmp->world, &me);
    std::fprintf(stderr, "ERROR on proc %d: %s\n", me, sentence.c_str());
    std::fflush(stderr);
    let_launcher_read();
    lmp->error->one(FLERR, sentence);
  }
}

}    // namespace uma
