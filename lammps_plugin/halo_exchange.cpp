// SPDX-License-Identifier: GPL-2.0-only

#include "halo_exchange.h"

#include "mpi_errors.h"
#include "row_sums.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/record_function.h>
#include <algorithm>
#include <compare>

#if __has_include(<mpi-ext.h>) && defined(OMPI_MAJOR_VERSION)
#include <mpi-ext.h>
#endif

namespace uma {
namespace {

at::Tensor rows_like(const at::Tensor &tensor, int64_t rows)
{
  auto shape = tensor.sizes().vec();
  shape[0] = rows;
  return at::empty(shape, tensor.options());
}

}    // namespace

bool mpi_reads_device_memory()
{
#if defined(MPIX_CUDA_AWARE_SUPPORT)
  return MPIX_Query_cuda_support() == 1;
#elif defined(MPIX_GPU_SUPPORT_CUDA)
  for (int kind : {MPIX_GPU_SUPPORT_CUDA, MPIX_GPU_SUPPORT_HIP, MPIX_GPU_SUPPORT_ZE}) {
    int supported = 0;
    if (MPIX_GPU_query_support(kind, &supported) == MPI_SUCCESS && supported) return true;
  }
  return false;
#else
  return false;
#endif
}

HaloExchange::HaloExchange(MPI_Comm world, at::Device device, bool through_host) :
    route_{.device = device}
{
  if (through_host && !device.is_cpu()) route_.copies = CopyToHost::stream(device);
  or_end(MPI_Comm_dup(world, &route_.comm));
  MPI_Comm_set_errhandler(route_.comm, MPI_ERRORS_RETURN);    // to 'or_end'
  MPI_Comm_rank(route_.comm, &me_);
  MPI_Comm_size(route_.comm, &nprocs_);
}

HaloExchange::~HaloExchange()
{
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Comm_free(&route_.comm);
}

std::vector<int64_t> HaloExchange::plan(const std::vector<Owner> &owners,
                                        const std::vector<char> &needed, int64_t num_owned)
{
  const auto is_remote = [&](size_t k) {
    return needed[k] && owners[k].row >= 0 && owners[k].rank != me_;
  };
  std::vector<Owner> remote;
  for (size_t k = 0; k < owners.size(); k++) {
    if (is_remote(k)) remote.push_back(owners[k]);
  }
  std::sort(remote.begin(), remote.end());
  remote.erase(std::unique(remote.begin(), remote.end()), remote.end());
  num_owned_ = num_owned;
  num_remote_ = int64_t(remote.size());
  request_rows(remote);

  std::vector<int64_t> rows(owners.size(), -1);
  for (size_t k = 0; k < owners.size(); k++) {
    if (owners[k].rank == me_) rows[k] = owners[k].row;
    if (!is_remote(k)) continue;
    const auto found = std::lower_bound(remote.begin(), remote.end(), owners[k]);
    rows[k] = num_owned + (found - remote.begin());
  }
  return rows;
}

// Tells each owner which of its rows this rank needs, and learns who needs which of its own.
void HaloExchange::request_rows(const std::vector<Owner> &remote)
{
  const auto grouped = [](const std::vector<int> &counts) {
    std::vector<Peer> peers;
    int64_t first = 0;
    for (int rank = 0; rank < int(counts.size()); rank++) {
      if (counts[rank] > 0) peers.push_back({rank, first, counts[rank]});
      first += counts[rank];
    }
    return peers;
  };
  std::vector<int> needed(nprocs_, 0), requested(nprocs_, 0);
  std::vector<int64_t> needed_rows;
  for (const Owner &owner : remote) {
    needed[owner.rank]++;
    needed_rows.push_back(owner.row);
  }
  or_end(MPI_Alltoall(needed.data(), 1, MPI_INT, requested.data(), 1, MPI_INT, route_.comm));
  sources_ = grouped(needed);
  targets_ = grouped(requested);
  const int64_t total = targets_.empty() ? 0 : targets_.back().first + targets_.back().rows;
  const auto requested_rows = at::empty({total}, at::kLong);
  const auto needed_tensor =
      at::from_blob(needed_rows.data(), {int64_t(needed_rows.size())}, at::kLong);
  RowMessages(route_.comm, needed_tensor, sources_, requested_rows, targets_).wait();
  sent_rows_ = requested_rows.to(route_.device);
}

std::unique_ptr<Transfer> HaloExchange::start_forward(const at::Tensor &owned)
{
  RECORD_USER_SCOPE("exchange");
  const at::NoGradGuard no_grad;
  if (!has_peers()) return std::make_unique<Transfer>(owned);
  const auto sent = owned.index_select(0, sent_rows_);
  const auto all = num_remote_ > 0 ? rows_like(owned, num_owned_ + num_remote_) : owned;
  auto transfer = std::make_unique<Transfer>(route_, all, sent, targets_,
                                             all.narrow(0, num_owned_, num_remote_), sources_,
                                             [all] { return all; });
  if (num_remote_ > 0) all.narrow(0, 0, num_owned_).copy_(owned);
  return transfer;
}

std::unique_ptr<Transfer> HaloExchange::start_reverse(const at::Tensor &all)
{
  RECORD_USER_SCOPE("exchange");
  const at::NoGradGuard no_grad;
  if (!has_peers()) return std::make_unique<Transfer>(all);
  const auto returned = rows_like(all, sent_rows_.size(0));
  return std::make_unique<Transfer>(route_, all, all.narrow(0, num_owned_, num_remote_), sources_,
                                    returned, targets_, [this, all, returned] {
                                      const auto owned = all.narrow(0, 0, num_owned_);
                                      return targets_.empty()
                                                 ? owned
                                                 : add_rows(owned, sent_rows_, returned);
                                    });
}

// In the order of the ranks: MPI_Allreduce may change its order, and the rounding with it, from one
// call to the next (MPICH does), and a restarted run would not go on bit by bit on CPUs.
at::Tensor HaloExchange::sum(const at::Tensor &part)
{
  RECORD_USER_SCOPE("exchange");
  const at::NoGradGuard no_grad;
  if (nprocs_ == 1) return part;
  const auto mine = on_host(part.to(at::kDouble).contiguous());
  const auto whole = gather(mine).sum(0).view(part.sizes());
  if (part.is_cpu()) return whole;
  // The copy of before has arrived: 'mine' was computed after it.
  const auto host = sums_.like(whole).copy_(whole);
  return at::empty_like(part, part.options().dtype(at::kDouble)).copy_(host, /*non_blocking=*/true);
}

// The values of all ranks, (ranks, values).
at::Tensor HaloExchange::gather(const at::Tensor &mine) const
{
  const auto all = at::empty({nprocs_, mine.numel()}, at::kDouble);
  const int count = int(mine.numel());
  or_end(MPI_Allgather(mine.data_ptr<double>(), count, MPI_DOUBLE, all.data_ptr<double>(), count,
                       MPI_DOUBLE, route_.comm));
  return all;
}

}    // namespace uma
