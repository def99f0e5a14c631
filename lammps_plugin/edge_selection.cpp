// SPDX-License-Identifier: GPL-2.0-only

#include "edge_selection.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <limits>
#include <vector>

namespace uma {
namespace {

constexpr int64_t PASS = int64_t(1) << 23;    // pairs that a device looks at, at 100 bytes each

}    // namespace

void EdgeSelection::select(const Pairs &candidates, const at::Tensor &positions, double cutoff)
{
  pairs = {};    // first free, then select
  vectors = at::Tensor();
  if (positions.is_cpu()) {
    const auto points = positions.contiguous();
    const auto found =
        on_host_({candidates.receivers, candidates.senders, points, points.size(0)}, cutoff);
    pairs = {found.receivers, found.senders};
    vectors = found.vectors;
    nearest = found.nearest;
    neighbors = found.neighbors;
  } else {
    select_on_device(candidates, positions, cutoff * cutoff);
  }
}

// In passes, so that what is held of all pairs is their indices alone.
void EdgeSelection::select_on_device(const Pairs &candidates, const at::Tensor &positions,
                                     double square)
{
  std::vector<at::Tensor> receivers, senders, differences;
  nearest = at::full({1}, std::numeric_limits<double>::infinity(), positions.options());
  for (int64_t first = 0; first == 0 || first < candidates.size(); first += PASS) {
    const int64_t number = std::min(PASS, candidates.size() - first);
    const auto receiver = candidates.receivers.narrow(0, first, number);
    const auto sender = candidates.senders.narrow(0, first, number);
    const auto vector = positions.index_select(0, sender) - positions.index_select(0, receiver);
    const auto squares = vector.square().sum(1);
    const auto within = (squares < square).nonzero().squeeze(1);
    receivers.push_back(receiver.index_select(0, within));
    senders.push_back(sender.index_select(0, within));
    differences.push_back(vector.index_select(0, within));
    if (number > 0) nearest = at::minimum(nearest, squares.min());
  }
  const bool one = receivers.size() == 1;
  // Sums over atoms on devices take 64-bit indices.
  pairs = {(one ? receivers[0] : at::cat(receivers)).to(at::kLong),
           (one ? senders[0] : at::cat(senders)).to(at::kLong)};
  vectors = one ? differences[0] : at::cat(differences);
  neighbors = at::zeros({positions.size(0)}, pairs.receivers.options());
  neighbors.index_add_(0, pairs.receivers,
                       at::ones({1}, pairs.receivers.options()).expand({pairs.size()}));
}

}    // namespace uma
