// SPDX-License-Identifier: MIT

#include "edge_selection.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <c10/util/Exception.h>
#include <limits>
#include <vector>

namespace uma::kernels {
namespace {

using Vector = std::array<double, 3>;

struct PairsOfPoints {
  const int *receivers, *senders;
  const Vector *points;

  Vector operator()(int64_t pair) const
  {
    const Vector &from = points[receivers[pair]], &to = points[senders[pair]];
    return {to[0] - from[0], to[1] - from[1], to[2] - from[2]};
  }
};

double square_of(const Vector &v)
{
  return v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
}

// Pairs that one thread looks at; fewer than an int can count.
struct Part {
  int64_t first, end;
  int64_t edges = 0;         // found
  int64_t first_edge = 0;    // of all
  double nearest = std::numeric_limits<double>::infinity();
};

// Writes which pairs are within the cutoff from 'near' on, counted from the part's first. Whether
// one is cannot be foretold, so no branch depends on it.
void find(const PairsOfPoints &pairs, double square, int *near, Part &part)
{
  int64_t found = 0;
  double nearest = part.nearest;
  for (int64_t pair = part.first; pair < part.end; pair++) {
    const double squared = square_of(pairs(pair));
    near[found] = int(pair - part.first);
    found += squared < square;
    nearest = std::min(nearest, squared);
  }
  part.edges = found;
  part.nearest = nearest;
}

struct Written {
  Vector *vectors;
  int64_t *senders, *receivers, *neighbors;
};

void write(const PairsOfPoints &pairs, const int *near, int num_rows, const int64_t *image_rows,
           const Part &part, const Written &to)
{
  int before = -1;
  int64_t of_it = 0;
  // Other threads may count edges of the same receiver.
  const auto count = [&] {
    if (of_it) std::atomic_ref(to.neighbors[before]).fetch_add(of_it, std::memory_order_relaxed);
    of_it = 0;
  };
  for (int64_t k = 0; k < part.edges; k++) {
    const int64_t pair = part.first + near[k], edge = part.first_edge + k;
    const int receiver = pairs.receivers[pair], sender = pairs.senders[pair];
    if (receiver != before) count();
    before = receiver;
    of_it++;
    to.vectors[edge] = pairs(pair);
    to.receivers[edge] = receiver;
    to.senders[edge] = sender < num_rows ? sender : image_rows[sender - num_rows];
  }
  count();
}

std::vector<Part> cut(int64_t pairs)
{
  constexpr int64_t LEAST = int64_t(1) << 14, MOST = int64_t(1) << 30;
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), pairs / LEAST);
  const int64_t number = std::max({threads, pairs / MOST + 1, int64_t(1)});
  std::vector<Part> parts;
  for (int64_t k = 0; k < number; k++)
    parts.push_back({pairs * k / number, pairs * (k + 1) / number});
  return parts;
}

template <class Work> void for_each(std::vector<Part> &parts, const Work &work)
{
  at::parallel_for(0, int64_t(parts.size()), 1, [&](int64_t first, int64_t end) {
    for (int64_t k = first; k < end; k++) work(parts[k]);
  });
}

}    // namespace

SelectedEdges select_edges(const at::Tensor &receivers, const at::Tensor &senders,
                           const at::Tensor &points, const at::Tensor &image_rows,
                           int64_t num_owned, double cutoff)
{
  TORCH_CHECK(receivers.is_contiguous() && senders.is_contiguous() && points.is_contiguous(),
              "pairs and points must be contiguous");
  const PairsOfPoints pairs = {receivers.const_data_ptr<int>(), senders.const_data_ptr<int>(),
                               reinterpret_cast<const Vector *>(points.const_data_ptr<double>())};
  auto parts = cut(receivers.numel());
  const auto found = at::empty({receivers.numel()}, at::kInt);
  int *near = found.data_ptr<int>();
  for_each(parts, [&](Part &part) { find(pairs, cutoff * cutoff, near + part.first, part); });
  int64_t edges = 0;
  double nearest = std::numeric_limits<double>::infinity();
  for (auto &part : parts) {
    part.first_edge = edges;
    edges += part.edges;
    nearest = std::min(nearest, part.nearest);
  }
  SelectedEdges selected = {at::empty({edges, 3}, at::kDouble), at::empty({edges}, at::kLong),
                            at::empty({edges}, at::kLong), at::full({1}, nearest, at::kDouble),
                            at::zeros({num_owned}, at::kLong)};
  const Written to = {reinterpret_cast<Vector *>(selected.vectors.data_ptr<double>()),
                      selected.senders.data_ptr<int64_t>(), selected.receivers.data_ptr<int64_t>(),
                      selected.neighbors.data_ptr<int64_t>()};
  const int num_rows = int(points.size(0) - image_rows.numel());
  const int64_t *rows = image_rows.const_data_ptr<int64_t>();
  for_each(parts, [&](Part &part) { write(pairs, near + part.first, num_rows, rows, part, to); });
  return selected;
}

}    // namespace uma::kernels
