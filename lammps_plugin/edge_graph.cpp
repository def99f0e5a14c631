// SPDX-License-Identifier: GPL-2.0-only

#include "edge_graph.h"

#include "row_sums.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <stdexcept>
#include <string>

namespace uma {
namespace {

at::Tensor index_tensor(const std::vector<int64_t> &indices, at::Device device)
{
  auto *data = const_cast<int64_t *>(indices.data());    // from_blob takes no const data
  return at::from_blob(data, {int64_t(indices.size())}, at::kLong)
      .to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

// The value of each atom, sorted into rows; several images of an atom agree.
std::vector<int64_t> by_row(const std::vector<int64_t> &values, const std::vector<int64_t> &rows,
                            int64_t num_rows)
{
  std::vector<int64_t> sorted(num_rows, 0);
  for (size_t k = 0; k < rows.size(); k++) {
    if (rows[k] >= 0) sorted[rows[k]] = values[k];
  }
  return sorted;
}

}    // namespace

EdgeGraph::EdgeGraph(at::Device device, at::ScalarType dtype, double cutoff,
                     int64_t max_neighbors) :
    device_(device),
    dtype_(dtype),
    cutoff_(cutoff),
    max_neighbors_(max_neighbors)
{
}

void EdgeGraph::set_candidates(const Candidates &candidates)
{
  num_atoms_ = int64_t(candidates.rows.size());
  num_owned_ = candidates.num_owned;
  candidates_ = {candidates.pairs.receivers.to(device_), candidates.pairs.senders.to(device_)};
  rows_ = index_tensor(candidates.rows, device_);
  if (device_.is_cpu()) rows_ = rows_.to(at::kInt);
  atomic_numbers_ = index_tensor(
      by_row(candidates.atomic_numbers, candidates.rows, candidates.num_rows), device_);
  has_remote_ = candidates.num_rows > num_owned_;
}

void EdgeGraph::update(const at::Tensor &positions)
{
  const at::NoGradGuard no_grad;
  vectors_ = at::Tensor();    // may be the selection's
  edges_.select(candidates_, positions, cutoff_);
  receivers_ = rows_.index_select(0, edges_.pairs.receivers);
  senders_ = rows_.index_select(0, edges_.pairs.senders);
  num_inner_ = has_remote_ ? senders_.lt(num_owned_).sum().item<int64_t>() : -1;
  vectors_ = edges_.vectors.to(dtype_);
  if (num_edges() > num_owned_ * max_neighbors_) {
    refuse_crowd("they have " + std::to_string(num_edges() / num_owned_) + " on average");
  }
}

at::Tensor EdgeGraph::extremes() const
{
  const at::NoGradGuard no_grad;
  if (num_atoms_ == 0) return at::zeros({2}, vectors_.options().dtype(at::kDouble));
  const auto coincide = edges_.nearest.min().eq(0.0);
  return at::stack({coincide.to(at::kDouble), edges_.neighbors.max().to(at::kDouble)});
}

void EdgeGraph::check(double coincident, double neighbors) const
{
  if (coincident > 0) {
    throw std::runtime_error("pair_style uma: atoms must be apart, found two at the same position; "
                             "check the starting structure");
  }
  if (neighbors > double(max_neighbors_)) {
    refuse_crowd("one has " + std::to_string(int64_t(neighbors)));
  }
}

void EdgeGraph::refuse_crowd(const std::string &found) const
{
  throw std::runtime_error("pair_style uma: an atom must have at most " +
                           std::to_string(max_neighbors_) +
                           " neighbors within the model's cutoff, but " + found +
                           "; check the density of the structure (the model was not made for "
                           "more)");
}

at::Tensor EdgeGraph::forces(const at::Tensor &gradients) const
{
  auto forces = at::zeros({num_atoms_, 3}, gradients.options());
  add_rows(forces, edges_.pairs.receivers, gradients);
  return add_rows(forces, edges_.pairs.senders, -gradients);
}

at::Tensor EdgeGraph::virial(const at::Tensor &gradients) const
{
  return -edges_.vectors.t().matmul(gradients);
}

at::Tensor EdgeGraph::atom_virials(const at::Tensor &gradients) const
{
  const auto halves = -0.5 * edges_.vectors.unsqueeze(2) * gradients.unsqueeze(1);
  auto virials = at::zeros({num_atoms_, 3, 3}, gradients.options());
  add_rows(virials, edges_.pairs.receivers, halves);
  return add_rows(virials, edges_.pairs.senders, halves);
}

double EdgeGraph::memory_usage() const
{
  double bytes = edges_.bytes();
  for (const auto &tensor : {candidates_.receivers, candidates_.senders, rows_, atomic_numbers_,
                             vectors_, senders_, receivers_}) {
    if (tensor.defined()) bytes += double(tensor.nbytes());
  }
  return bytes;
}

}    // namespace uma
