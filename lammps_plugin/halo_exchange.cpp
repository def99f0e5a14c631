// SPDX-License-Identifier: GPL-2.0-only

#include "halo_exchange.h"

#include "row_sums.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/record_function.h>
#include <algorithm>
#include <compare>
#include <cstdio>

#if __has_include(<mpi-ext.h>) && defined(OMPI_MAJOR_VERSION)
#include <mpi-ext.h>
#endif

namespace uma {
namespace {

constexpr int TAG = 1;

// One row of a tensor as an MPI type, so that message lengths count rows and not bytes.
class RowType {
 public:
  explicit RowType(const at::Tensor &rows)
  {
    int64_t bytes = rows.element_size();
    for (int64_t axis = 1; axis < rows.dim(); axis++) bytes *= rows.size(axis);
    MPI_Type_contiguous(int(bytes), MPI_BYTE, &type_);
    MPI_Type_commit(&type_);
  }
  ~RowType() { MPI_Type_free(&type_); }
  RowType(const RowType &) = delete;
  RowType &operator=(const RowType &) = delete;
  operator MPI_Datatype() const { return type_; }

 private:
  MPI_Datatype type_;
};

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

HaloExchange::HaloExchange(MPI_Comm world, at::Device device, bool through_host) : device_(device)
{
  if (through_host && !device.is_cpu()) copies_ = CopyToHost::stream(device);
  MPI_Comm_dup(world, &comm_);
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);    // to 'or_end'
  MPI_Comm_rank(comm_, &me_);
  MPI_Comm_size(comm_, &nprocs_);
}

HaloExchange::~HaloExchange()
{
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Comm_free(&comm_);
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
  or_end(MPI_Alltoall(needed.data(), 1, MPI_INT, requested.data(), 1, MPI_INT, comm_));
  sources_ = grouped(needed);
  targets_ = grouped(requested);
  const int64_t total = targets_.empty() ? 0 : targets_.back().first + targets_.back().rows;
  const auto requested_rows = at::empty({total}, at::kLong);
  const auto needed_tensor =
      at::from_blob(needed_rows.data(), {int64_t(needed_rows.size())}, at::kLong);
  send_and_receive(needed_tensor, sources_, requested_rows, targets_);
  sent_rows_ = requested_rows.to(device_);
}

at::Tensor HaloExchange::forward(const at::Tensor &owned)
{
  RECORD_USER_SCOPE("exchange");
  const at::NoGradGuard no_grad;
  if (!has_peers()) return owned;
  const auto all = num_remote_ > 0 ? rows_like(owned, num_owned_ + num_remote_) : owned;
  transfer(owned.index_select(0, sent_rows_), targets_, all.narrow(0, num_owned_, num_remote_),
           sources_, [&] {
             if (num_remote_ > 0) all.narrow(0, 0, num_owned_).copy_(owned);
           });
  return all;
}

at::Tensor HaloExchange::reverse(const at::Tensor &all)
{
  RECORD_USER_SCOPE("exchange");
  const at::NoGradGuard no_grad;
  if (!has_peers()) return all;
  const auto returned = rows_like(all, sent_rows_.size(0));
  auto owned = all.narrow(0, 0, num_owned_);
  transfer(all.narrow(0, num_owned_, num_remote_), sources_, returned, targets_, [&] {
    if (!targets_.empty()) owned = owned.clone();
  });
  return targets_.empty() ? owned : add_rows(owned, sent_rows_, returned);
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
                       MPI_DOUBLE, comm_));
  return all;
}

// Does other work while the device finishes what it is to send.
template <typename Work>
void HaloExchange::transfer(const at::Tensor &out, const std::vector<Peer> &receivers,
                            const at::Tensor &in, const std::vector<Peer> &senders,
                            const Work &meanwhile)
{
  if (!copies_) {
    meanwhile();
    if (!device_.is_cpu()) at::accelerator::synchronizeDevice(device_.index());
    send_and_receive(out, receivers, in, senders);
    return;
  }
  // What was received before has left its buffer when this copy is done: it waits for all that
  // was queued.
  const auto host_out = sent_.like(out), host_in = received_.like(in);
  const CopyToHost copy(host_out, out, *copies_);
  meanwhile();
  copy.wait();
  send_and_receive(host_out, receivers, host_in, senders);
  in.copy_(host_in, /*non_blocking=*/true);
}

void HaloExchange::send_and_receive(const at::Tensor &out, const std::vector<Peer> &receivers,
                                    const at::Tensor &in, const std::vector<Peer> &senders) const
{
  const RowType row(in);
  const auto first_row = [](const at::Tensor &buffer, const Peer &peer) {
    return buffer.narrow(0, peer.first, peer.rows).data_ptr();
  };
  std::vector<MPI_Request> requests;
  requests.reserve(senders.size() + receivers.size());
  for (const Peer &peer : senders) {
    or_end(MPI_Irecv(first_row(in, peer), peer.rows, row, peer.rank, TAG, comm_,
                     &requests.emplace_back()));
  }
  for (const Peer &peer : receivers) {
    or_end(MPI_Isend(first_row(out, peer), peer.rows, row, peer.rank, TAG, comm_,
                     &requests.emplace_back()));
  }
  std::vector<MPI_Status> ends(requests.size());
  const int code = MPI_Waitall(int(requests.size()), requests.data(), ends.data());
  for (size_t k = 0; code == MPI_ERR_IN_STATUS && k < ends.size(); k++) {
    if (ends[k].MPI_ERROR != MPI_ERR_PENDING) or_end(ends[k].MPI_ERROR);
  }
  or_end(code);
}

// Ends the run where MPI returns an error: other ranks may wait for a message that does not come.
void HaloExchange::or_end(int code) const
{
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  std::fprintf(stderr, "pair_style uma: communication between MPI ranks failed: %s\n", text);
  std::fflush(stderr);
  MPI_Abort(comm_, 1);
}

}    // namespace uma
