// SPDX-License-Identifier: GPL-2.0-only

#include "edge_selection.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <array>
#include <vector>

namespace uma {
namespace {

constexpr int64_t PASS = int64_t(1) << 23;    // pairs that a device looks at, at 100 bytes each

using Vector = std::array<double, 3>;

Vector between(const double *positions, int receiver, int sender)
{
  const double *from = positions + 3 * int64_t(receiver), *to = positions + 3 * int64_t(sender);
  return {to[0] - from[0], to[1] - from[1], to[2] - from[2]};
}

double square_of(const Vector &v)
{
  return v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
}

}    // namespace

void EdgeSelection::select(const Pairs &candidates, const at::Tensor &positions, double cutoff)
{
  const double square = cutoff * cutoff;
  pairs = {};
  vectors = at::Tensor();
  if (positions.is_cpu()) {
    const auto contiguous = positions.contiguous();
    select_on_host(candidates, contiguous.data_ptr<double>(), square);
  } else {
    select_on_device(candidates, positions, square);
  }
}

// Twice over the pairs: to count, and to write. Both take some nanoseconds a pair.
void EdgeSelection::select_on_host(const Pairs &candidates, const double *positions, double square)
{
  const int *receiver = candidates.receivers.data_ptr<int>();
  const int *sender = candidates.senders.data_ptr<int>();
  const int64_t num_pairs = candidates.size();
  int64_t edges = 0, zeros = 0;
  for (int64_t k = 0; k < num_pairs; k++) {
    const double found = square_of(between(positions, receiver[k], sender[k]));
    edges += found < square;
    zeros += found == 0.0;
  }
  receivers_.reserve(edges, 1, at::kInt);
  senders_.reserve(edges, 1, at::kInt);
  vectors_.reserve(edges, 3, at::kDouble);
  pairs = {receivers_.tensor(edges).squeeze(1), senders_.tensor(edges).squeeze(1)};
  vectors = vectors_.tensor(edges);
  coincident = at::full({}, zeros, at::kLong);
  int *to_receiver = pairs.receivers.data_ptr<int>(), *to_sender = pairs.senders.data_ptr<int>();
  auto *to_vector = reinterpret_cast<Vector *>(vectors.data_ptr<double>());
  for (int64_t k = 0; k < num_pairs; k++) {
    const Vector vector = between(positions, receiver[k], sender[k]);
    if (!(square_of(vector) < square)) continue;
    *to_receiver++ = receiver[k];
    *to_sender++ = sender[k];
    *to_vector++ = vector;
  }
}

// In passes, so that what is held of all pairs is their indices alone.
void EdgeSelection::select_on_device(const Pairs &candidates, const at::Tensor &positions,
                                     double square)
{
  std::vector<at::Tensor> receivers, senders, differences;
  coincident = at::zeros({}, at::dtype(at::kLong).device(positions.device()));
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
    coincident = coincident + squares.eq(0.0).sum();
  }
  const bool one = receivers.size() == 1;
  // Sums over atoms on devices take 64-bit indices.
  pairs = {(one ? receivers[0] : at::cat(receivers)).to(at::kLong),
           (one ? senders[0] : at::cat(senders)).to(at::kLong)};
  vectors = one ? differences[0] : at::cat(differences);
}

}    // namespace uma
