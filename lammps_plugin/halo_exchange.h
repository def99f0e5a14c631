// SPDX-License-Identifier: GPL-2.0-only
// Rows of node tensors that other ranks own, and the gradients that go back to them.

#ifndef UMA_HALO_EXCHANGE_H
#define UMA_HALO_EXCHANGE_H

#include "transfer.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <mpi.h>
#include <vector>

namespace uma {

// The atom that a (ghost) atom is an image of. row < 0: it is not part of the model.
struct Owner {
  int rank = 0;
  int64_t row = -1;
  auto operator<=>(const Owner &) const = default;
};

// Whether the MPI library says that it sends and receives device memory.
bool mpi_reads_device_memory();

// Rows 0 .. owned-1 of a tensor are this rank's, those after them remote, ordered by owner. An
// error of MPI ends the run on all ranks, also where MPI is told to return errors, as by mpi4py.
class HaloExchange {
 public:
  // Collective over 'world'.
  HaloExchange(MPI_Comm world, at::Device device, bool through_host);
  ~HaloExchange();
  HaloExchange(const HaloExchange &) = delete;
  HaloExchange &operator=(const HaloExchange &) = delete;

  // Collective. Returns the row of every atom of 'owners', -1 for those that have none: images of
  // own atoms share the atom's row, images of the same remote atom share one remote row. Only
  // remote atoms marked in 'needed' get one.
  std::vector<int64_t> plan(const std::vector<Owner> &owners, const std::vector<char> &needed,
                            int64_t num_owned);

  int64_t num_remote() const { return num_remote_; }

  // All three are collective, also for ranks without rows. Where there is nothing to do they give
  // the tensor itself.
  std::unique_ptr<Transfer> start_forward(const at::Tensor &owned);    // to owned and remote rows
  // To owned rows and what others return; those of 'all' are overwritten.
  std::unique_ptr<Transfer> start_reverse(const at::Tensor &all);
  at::Tensor sum(const at::Tensor &part);    // over all ranks

  const Traffic &traffic() const { return route_.traffic; }

 private:
  void request_rows(const std::vector<Owner> &remote);
  bool has_peers() const { return !sources_.empty() || !targets_.empty(); }
  at::Tensor gather(const at::Tensor &mine) const;

  Route route_;
  int me_ = 0, nprocs_ = 1;
  HostBuffer sums_;
  int64_t num_owned_ = 0, num_remote_ = 0;
  std::vector<Peer> sources_;    // ranks that own rows this rank needs
  std::vector<Peer> targets_;    // ranks that need rows of this rank
  at::Tensor sent_rows_;         // of this rank, grouped by target
};

}    // namespace uma

#endif
