// SPDX-License-Identifier: GPL-2.0-only

#include "node_ranks.h"

#include "mpi_errors.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <thread>

namespace uma {
namespace {

constexpr double SHORTEST = 1e-4, LONGEST = 1e-2;    // seconds between looks at a message
constexpr size_t MOST_BYTES = size_t(1) << 30;       // of a message: MPI counts in 32 bits

std::string text_of(const std::exception_ptr &failure)
{
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception &error) {
    return error.what();
  }
}

// Types, numbers of dimensions and shapes, one after the other.
std::vector<int64_t> layout_of(const std::vector<at::Tensor> &tensors)
{
  std::vector<int64_t> layout;
  for (const auto &tensor : tensors) {
    layout.push_back(int64_t(tensor.scalar_type()));
    layout.push_back(tensor.dim());
    layout.insert(layout.end(), tensor.sizes().begin(), tensor.sizes().end());
  }
  return layout;
}

std::vector<at::Tensor> tensors_of(const std::vector<int64_t> &layout)
{
  std::vector<at::Tensor> tensors;
  for (size_t k = 0; k < layout.size();) {
    const auto type = at::ScalarType(layout[k]);
    const int64_t *sizes = layout.data() + k + 2;
    tensors.push_back(at::empty({sizes, size_t(layout[k + 1])}, type));
    k += 2 + size_t(layout[k + 1]);
  }
  return tensors;
}

}    // namespace

NodeRanks::NodeRanks(MPI_Comm world)
{
  or_end(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &comm_));
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);    // to 'or_end'
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
}

NodeRanks::~NodeRanks()
{
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Comm_free(&comm_);
}

void NodeRanks::together(const std::function<void()> &work) const
{
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  int failed = failure ? rank_ : size_, first = size_;
  MPI_Request request;
  or_end(MPI_Iallreduce(&failed, &first, 1, MPI_INT, MPI_MIN, comm_, &request));
  wait_for(request);
  if (first == size_) return;
  std::string text = first == rank_ ? text_of(failure) : "";
  auto length = uint64_t(text.size());
  or_end(MPI_Bcast(&length, 1, MPI_UINT64_T, first, comm_));
  text.resize(length);
  or_end(MPI_Bcast(text.data(), int(length), MPI_CHAR, first, comm_));
  if (first == rank_) std::rethrow_exception(failure);
  throw std::runtime_error(text);
}

void NodeRanks::first_does(const std::function<void()> &work) const
{
  together([&] {
    if (is_first()) work();
  });
}

void NodeRanks::share(std::string &bytes) const
{
  auto length = uint64_t(bytes.size());
  broadcast(&length, sizeof(length));
  together([&] { bytes.resize(length); });
  broadcast(bytes.data(), length);
}

void NodeRanks::share(std::vector<at::Tensor> &tensors) const
{
  std::vector<int64_t> layout = layout_of(tensors);
  auto length = uint64_t(layout.size());
  broadcast(&length, sizeof(length));
  layout.resize(length);
  broadcast(layout.data(), length * sizeof(int64_t));
  together([&] {
    if (!is_first()) tensors = tensors_of(layout);
    for (auto &tensor : tensors) tensor = tensor.contiguous();
  });
  for (const auto &tensor : tensors) broadcast(tensor.data_ptr(), tensor.nbytes());
}

// MPI's own waiting takes a core.
void NodeRanks::wait_for(MPI_Request request) const
{
  for (double rest = SHORTEST; !are_done({&request, 1}); rest = std::min(1.1 * rest, LONGEST)) {
    std::this_thread::sleep_for(std::chrono::duration<double>(rest));
  }
}

void NodeRanks::broadcast(void *bytes, size_t number) const
{
  for (size_t first = 0; first < number; first += MOST_BYTES) {
    const int part = int(std::min(MOST_BYTES, number - first));
    MPI_Request request;
    or_end(MPI_Ibcast(static_cast<char *>(bytes) + first, part, MPI_BYTE, 0, comm_, &request));
    wait_for(request);
  }
}

}    // namespace uma
