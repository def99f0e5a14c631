// SPDX-License-Identifier: GPL-2.0-only
// Rows of node tensors on their way between ranks, while the rank may do other work.

#ifndef UMA_TRANSFER_H
#define UMA_TRANSFER_H

#include "host_memory.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <mpi.h>
#include <optional>
#include <vector>

namespace uma {

// Counters of one rank; Traffic of uma_md/ranks/traffic.py is the same, name by name.
struct Traffic {
  int64_t exchanges = 0;
  int64_t messages_sent = 0, messages_received = 0;
  int64_t rows_sent = 0, rows_received = 0;
  int64_t bytes_sent = 0, bytes_received = 0;
};

// A rank that messages go to or come from.
struct Peer {
  int rank;
  int64_t first;    // of its rows within a message buffer
  int rows;
};

// Rows of a tensor that are sent and received without waiting. The tensors are on the host, or
// where MPI reads.
class RowMessages {
 public:
  RowMessages(MPI_Comm comm, const at::Tensor &out, const std::vector<Peer> &receivers,
              const at::Tensor &in, const std::vector<Peer> &senders);
  bool test();    // whether all have come and gone; on many a machine they move only in here
  void wait();

 private:
  std::vector<MPI_Request> requests_;
};

// How messages of a rank travel.
struct Route {
  MPI_Comm comm = MPI_COMM_NULL;
  at::Device device;
  std::optional<c10::Stream> copies;    // where messages go through host memory
  HostBuffer sent, received;
  Traffic traffic;
};

// An exchange of rows that has begun. There is one at a time.
class Transfer {
 public:
  using Finish = std::function<at::Tensor()>;    // gives the exchange's result

  // There is nothing to do.
  explicit Transfer(at::Tensor rows) : rows_(std::move(rows)) {}
  // rows: what others may work with while 'in' is on its way.
  Transfer(Route &route, at::Tensor rows, at::Tensor out, const std::vector<Peer> &receivers,
           at::Tensor in, const std::vector<Peer> &senders, Finish finish);
  Transfer(const Transfer &) = delete;
  Transfer &operator=(const Transfer &) = delete;

  // Owned rows, then remote ones, which may not be read or written until 'wait'.
  const at::Tensor &rows() const { return rows_; }
  // Takes the messages on, between pieces of other work.
  void test();
  // Waits for the messages, and gives the exchange's result.
  at::Tensor wait();

 private:
  void send();
  void arrive();

  Route *route_ = nullptr;
  at::Tensor rows_, out_, in_, host_out_, host_in_;
  const std::vector<Peer> *receivers_ = nullptr, *senders_ = nullptr;
  Finish finish_;
  std::optional<CopyToHost> copy_;         // of what is sent
  std::optional<RowMessages> messages_;    // once they are on their way
  bool arrived_ = false;
};

}    // namespace uma

#endif
