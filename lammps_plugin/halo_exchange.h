// SPDX-License-Identifier: GPL-2.0-only
// Rows of node tensors that other ranks own, and the gradients that go back to them.

#ifndef UMA_HALO_EXCHANGE_H
#define UMA_HALO_EXCHANGE_H

#include "host_memory.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <mpi.h>
#include <optional>
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
  at::Tensor forward(const at::Tensor &owned);    // owned rows, then remote ones
  at::Tensor reverse(const at::Tensor &all);      // owned rows + what others return
  at::Tensor sum(const at::Tensor &part);         // over all ranks

 private:
  struct Peer {
    int rank;
    int64_t first;    // of its rows within a message buffer
    int rows;
  };

  void or_end(int code) const;
  void request_rows(const std::vector<Owner> &remote);
  bool has_peers() const { return !sources_.empty() || !targets_.empty(); }
  template <typename Work>
  void transfer(const at::Tensor &out, const std::vector<Peer> &receivers, const at::Tensor &in,
                const std::vector<Peer> &senders, const Work &meanwhile);
  at::Tensor gather(const at::Tensor &mine) const;
  void send_and_receive(const at::Tensor &out, const std::vector<Peer> &receivers,
                        const at::Tensor &in, const std::vector<Peer> &senders) const;

  MPI_Comm comm_ = MPI_COMM_NULL;
  int me_ = 0, nprocs_ = 1;
  at::Device device_;
  std::optional<c10::Stream> copies_;    // where messages go through host memory
  HostBuffer sent_, received_, sums_;
  int64_t num_owned_ = 0, num_remote_ = 0;
  std::vector<Peer> sources_;    // ranks that own rows this rank needs
  std::vector<Peer> targets_;    // ranks that need rows of this rank
  at::Tensor sent_rows_;         // of this rank, grouped by target
};

}    // namespace uma

#endif
