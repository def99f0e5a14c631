// SPDX-License-Identifier: GPL-2.0-only

#include "deviations.h"

#include "mpi_errors.h"
#include "potential.h"

#include "fmt/format.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace uma {
namespace {

constexpr std::array<const char *, 7> COLUMNS{
    "max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f", "devi_e"};

// Of numbers that the first of 'members' has as 0, and the others 'stride' apart.
double deviation(const double *others, int members, int stride)
{
  double mean = 0.0;
  for (int k = 0; k < members - 1; k++) mean += others[k * stride] / members;
  double squares = mean * mean;
  for (int k = 0; k < members - 1; k++) {
    squares += (others[k * stride] - mean) * (others[k * stride] - mean);
  }
  return std::sqrt(squares / members);
}

}    // namespace

void DeviationFile::write(int64_t step, const std::vector<double> &columns)
{
  const bool adds = begun_ || step > 0;
  std::FILE *file = std::fopen(name_.c_str(), adds ? "a" : "w");
  bool written = file != nullptr;
  if (file && std::fseek(file, 0, SEEK_END) == 0 && std::ftell(file) == 0) {
    std::string header = fmt::format("#{:>11}", "step");
    for (const char *name : COLUMNS) header += fmt::format(" {:>18}", name);
    written = std::fprintf(file, "%s\n", header.c_str()) > 0;
  }
  if (file) {
    std::string row = fmt::format("{:>12}", step);
    for (const double number : columns) row += fmt::format(" {:>18.6e}", number);
    written = std::fprintf(file, "%s\n", row.c_str()) > 0 && written;
    written = std::fclose(file) == 0 && written;
  }
  if (!written) {
    throw std::runtime_error(fmt::format("pair_style uma: the file of deviations must be one that "
                                         "can be written, found '{}': {}; give another name, or "
                                         "make room",
                                         name_, std::strerror(errno)));
  }
  begun_ = true;
  latest_ = step;
}

void Deviations::take(const std::vector<Result> &members)
{
  const Result &first = members.front();
  num_members_ = int(members.size());
  std::vector<at::Tensor> differences;
  extensive_.clear();
  for (size_t k = 1; k < members.size(); k++) {
    differences.push_back(members[k].forces - first.forces);
    extensive_.push_back(members[k].energy - first.energy);
    for (size_t c = 0; c < first.virial.size(); c++) {
      extensive_.push_back(members[k].virial[c] - first.virial[c]);
    }
  }
  differences_ = at::stack(differences, 1).contiguous();
}

int Deviations::pack(int n, int first, double *buffer) const
{
  std::copy_n(differences_.data_ptr<double>() + int64_t(first) * size(), int64_t(n) * size(),
              buffer);
  return n * size();
}

void Deviations::unpack(int n, const int *list, const double *buffer)
{
  double *all = differences_.data_ptr<double>();
  for (int i = 0; i < n; i++) {
    for (int c = 0; c < size(); c++) all[int64_t(list[i]) * size() + c] += *buffer++;
  }
}

void Deviations::compare(MPI_Comm world, const std::vector<char> &is_seen, double unit)
{
  compare_forces(is_seen, unit);
  const auto seen = double(std::count(is_seen.begin(), is_seen.end(), 1));
  std::array<double, 2> extremes{summary_.largest_force, -summary_.least_force};
  std::vector<double> sums = extensive_;
  sums.push_back(std::accumulate(forces_.begin(), forces_.end(), 0.0));
  sums.push_back(seen);
  or_end(MPI_Allreduce(MPI_IN_PLACE, extremes.data(), 2, MPI_DOUBLE, MPI_MAX, world));
  or_end(MPI_Allreduce(MPI_IN_PLACE, sums.data(), int(sums.size()), MPI_DOUBLE, MPI_SUM, world));
  summary_ = {};
  const double natoms = sums.back();
  if (natoms == 0.0) return;
  summary_.largest_force = extremes[0];
  summary_.least_force = -extremes[1];
  summary_.mean_force = sums[sums.size() - 2] / natoms;
  summary_.energy = unit * deviation(sums.data(), num_members_, EXTENSIVE) / natoms;
  summary_.least_virial = std::numeric_limits<double>::infinity();
  double squares = 0.0;
  for (int c = 1; c < EXTENSIVE; c++) {
    const double found = unit * deviation(sums.data() + c, num_members_, EXTENSIVE) / natoms;
    summary_.largest_virial = std::max(summary_.largest_virial, found);
    summary_.least_virial = std::min(summary_.least_virial, found);
    squares += found * found;
  }
  summary_.mean_virial = std::sqrt(squares / (EXTENSIVE - 1));
}

// Of this rank's own atoms.
void Deviations::compare_forces(const std::vector<char> &is_seen, double unit)
{
  forces_.reserve(std::max<size_t>(is_seen.size(), 1));
  forces_.assign(is_seen.size(), 0.0);
  summary_.largest_force = 0.0;
  summary_.least_force = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < is_seen.size(); i++) {
    if (!is_seen[i]) continue;
    const double *others = differences_.data_ptr<double>() + int64_t(i) * size();
    double squares = 0.0;
    for (int axis = 0; axis < 3; axis++) {
      const double found = deviation(others + axis, num_members_, 3);
      squares += found * found;
    }
    forces_[i] = unit * std::sqrt(squares);
    summary_.largest_force = std::max(summary_.largest_force, forces_[i]);
    summary_.least_force = std::min(summary_.least_force, forces_[i]);
  }
}

std::vector<double> Deviations::columns() const
{
  const Summary &s = summary_;
  return {s.largest_virial, s.least_virial, s.mean_virial, s.largest_force,
          s.least_force,    s.mean_force,   s.energy};
}

}    // namespace uma
