// SPDX-License-Identifier: GPL-2.0-only
// Rows of node tensors that other ranks own, and the gradients that go back to them.

#ifndef UMA_HALO_EXCHANGE_H
#define UMA_HALO_EXCHANGE_H

#include <ATen/core/Tensor.h>
#include <cstdint>
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

// Rows 0 .. owned-1 of a tensor are this rank's, those after them remote, ordered by owner.
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

  // All three are collective, also for ranks without rows.
  at::Tensor forward(const at::Tensor &owned) const;    // owned rows, then remote ones
  at::Tensor reverse(const at::Tensor &all) const;      // owned rows + what others return
  at::Tensor sum(const at::Tensor &part) const;         // over all ranks

 private:
  struct Peer {
    int rank;
    int64_t first;    // of its rows within a message buffer
    int rows;
  };

  void request_rows(const std::vector<Owner> &remote);
  void transfer(const at::Tensor &out, const std::vector<Peer> &receivers, const at::Tensor &in,
                const std::vector<Peer> &senders) const;
  void send_and_receive(const at::Tensor &out, const std::vector<Peer> &receivers,
                        const at::Tensor &in, const std::vector<Peer> &senders) const;

  MPI_Comm comm_ = MPI_COMM_NULL;
  int me_ = 0, nprocs_ = 1;
  at::Device device_;
  bool through_host_;
  int64_t num_owned_ = 0, num_remote_ = 0;
  std::vector<Peer> sources_;    // ranks that own rows this rank needs
  std::vector<Peer> targets_;    // ranks that need rows of this rank
  at::Tensor sent_rows_;         // of this rank, grouped by target
};

}    // namespace uma

#endif
