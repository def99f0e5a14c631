// SPDX-License-Identifier: GPL-2.0-only

#include "transfer.h"

#include "mpi_errors.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/record_function.h>
#include <algorithm>
#include <utility>

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
  ~RowType() { MPI_Type_free(&type_); }    // messages on their way keep it
  RowType(const RowType &) = delete;
  RowType &operator=(const RowType &) = delete;
  operator MPI_Datatype() const { return type_; }

 private:
  MPI_Datatype type_;
};

}    // namespace

RowMessages::RowMessages(MPI_Comm comm, const at::Tensor &out, const std::vector<Peer> &receivers,
                         const at::Tensor &in, const std::vector<Peer> &senders)
{
  const RowType row(in);
  const auto first_row = [](const at::Tensor &buffer, const Peer &peer) {
    return buffer.narrow(0, peer.first, peer.rows).data_ptr();
  };
  requests_.reserve(senders.size() + receivers.size());
  for (const Peer &peer : senders) {
    or_end(MPI_Irecv(first_row(in, peer), peer.rows, row, peer.rank, TAG, comm,
                     &requests_.emplace_back()));
  }
  for (const Peer &peer : receivers) {
    or_end(MPI_Isend(first_row(out, peer), peer.rows, row, peer.rank, TAG, comm,
                     &requests_.emplace_back()));
  }
}

bool RowMessages::test()
{
  return are_done(requests_);
}

void RowMessages::wait()
{
  wait_for_all(requests_);
}

Transfer::Transfer(Route &route, at::Tensor rows, at::Tensor out,
                   const std::vector<Peer> &receivers, at::Tensor in,
                   const std::vector<Peer> &senders, Finish finish) :
    route_(&route),
    rows_(std::move(rows)),
    out_(std::move(out)),
    in_(std::move(in)),
    receivers_(&receivers),
    senders_(&senders),
    finish_(std::move(finish))
{
  if (route.copies) {
    // What was received before has left its buffer when this copy is done: it is on the same
    // stream.
    host_out_ = route.sent.like(out_);
    host_in_ = route.received.like(in_);
    copy_.emplace(host_out_, out_, *route.copies);
  } else {
    host_out_ = out_;
    host_in_ = in_;
    if (!route.device.is_cpu()) at::accelerator::synchronizeDevice(route.device.index());
    send();
  }
}

void Transfer::send()
{
  messages_.emplace(route_->comm, host_out_, *receivers_, host_in_, *senders_);
}

void Transfer::test()
{
  if (!route_ || arrived_) return;
  if (!messages_ && copy_->is_done()) send();
  if (messages_ && messages_->test()) arrive();
}

at::Tensor Transfer::wait()
{
  if (!route_) return rows_;
  RECORD_USER_SCOPE("exchange");
  if (!messages_) {
    copy_->wait();
    send();
  }
  if (!arrived_) {
    messages_->wait();
    arrive();
  }
  return finish_();
}

void Transfer::arrive()
{
  RECORD_USER_SCOPE("arrived");
  arrived_ = true;
  if (route_->copies) copy_to_device(in_, host_in_, *route_->copies);
  Traffic &traffic = route_->traffic;
  traffic.exchanges++;
  traffic.messages_sent += int64_t(receivers_->size());
  traffic.messages_received += int64_t(senders_->size());
  traffic.rows_sent += out_.size(0);
  traffic.rows_received += in_.size(0);
  traffic.bytes_sent += int64_t(out_.nbytes());
  traffic.bytes_received += int64_t(in_.nbytes());
}

}    // namespace uma
