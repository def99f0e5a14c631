// SPDX-License-Identifier: MIT

#include "edge_selection.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <c10/util/Exception.h>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

namespace uma::kernels {
namespace {

using Vector = std::array<double, 3>;

struct PairsOfPoints {
  const int *receivers, *senders;
  const Vector *points;
};

Vector difference(const Vector &from, const Vector &to)
{
  return {to[0] - from[0], to[1] - from[1], to[2] - from[2]};
}

double square_of(const Vector &v)
{
  return v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
}

// Pairs that one thread looks at, and the room for their edges.
struct Part {
  int64_t first_pair, end_pair;
  int64_t first_edge = 0, end_edge = 0;
};

struct Written {
  Vector *vectors;
  int64_t *senders, *receivers, *neighbors;
};

int64_t count(const PairsOfPoints &pairs, double square, const Part &part)
{
  int64_t edges = 0;
  for (int64_t pair = part.first_pair; pair < part.end_pair; pair++) {
    const Vector &from = pairs.points[pairs.receivers[pair]];
    edges += square_of(difference(from, pairs.points[pairs.senders[pair]])) < square;
  }
  return edges;
}

// Writes edges until the part's room is full, and says where they end and which pair comes next.
// Whether a pair is an edge cannot be foretold, so nothing branches on it: the next one overwrites
// what is none.
std::pair<int64_t, int64_t> write(const PairsOfPoints &pairs, double square, const int *row_of,
                                  const Part &part, const Written &to, double &nearest)
{
  int64_t pair = part.first_pair, edge = part.first_edge;
  while (pair < part.end_pair && edge < part.end_edge) {
    const int receiver = pairs.receivers[pair];
    const Vector from = pairs.points[receiver];
    const int64_t before = edge;
    for (; pair < part.end_pair && edge < part.end_edge && pairs.receivers[pair] == receiver;
         pair++) {
      const int sender = pairs.senders[pair];
      const Vector vector = difference(from, pairs.points[sender]);
      const double squared = square_of(vector);
      to.vectors[edge] = vector;
      to.receivers[edge] = receiver;
      to.senders[edge] = row_of[sender];
      edge += squared < square;
      nearest = std::min(nearest, squared);
    }
    // Other threads may count edges of the same receiver.
    std::atomic_ref(to.neighbors[receiver]).fetch_add(edge - before, std::memory_order_relaxed);
  }
  return {edge, pair};
}

std::vector<Part> cut(int64_t pairs)
{
  constexpr int64_t LEAST = int64_t(1) << 14;
  const int64_t number = std::clamp<int64_t>(pairs / LEAST, 1, at::get_num_threads());
  std::vector<Part> parts;
  for (int64_t k = 0; k < number; k++) {
    parts.push_back({pairs * k / number, pairs * (k + 1) / number});
  }
  return parts;
}

// Gives each part room for its edges; returns their number.
int64_t give_room(std::vector<Part> &parts, const PairsOfPoints &pairs, double square)
{
  at::parallel_for(0, int64_t(parts.size()), 1, [&](int64_t first, int64_t end) {
    for (int64_t k = first; k < end; k++) parts[k].end_edge = count(pairs, square, parts[k]);
  });
  int64_t edges = 0;
  for (Part &part : parts) {
    part.first_edge = edges;
    part.end_edge = edges += part.end_edge;
  }
  return edges;
}

at::Tensor rows_of_points(int64_t num_points, const at::Tensor &image_rows)
{
  const int64_t num_rows = num_points - image_rows.numel();
  return at::cat({at::arange(num_rows, at::kInt), image_rows.to(at::kInt)});
}

}    // namespace

SelectedEdges select_edges(const at::Tensor &receivers, const at::Tensor &senders,
                           const at::Tensor &points, const at::Tensor &image_rows,
                           int64_t num_owned, double cutoff, int64_t expected)
{
  TORCH_CHECK(receivers.is_contiguous() && senders.is_contiguous() && points.is_contiguous(),
              "pairs and points must be contiguous");
  const PairsOfPoints pairs = {receivers.const_data_ptr<int>(), senders.const_data_ptr<int>(),
                               reinterpret_cast<const Vector *>(points.const_data_ptr<double>())};
  const double square = cutoff * cutoff;
  const auto row_of = rows_of_points(points.size(0), image_rows);
  auto parts = cut(receivers.numel());
  const int64_t guess = expected + expected / 64;
  const bool guessed = parts.size() == 1 && expected > 0;
  if (guessed) parts[0].end_edge = guess;
  const int64_t room = guessed ? guess : give_room(parts, pairs, square);
  SelectedEdges found = {
      at::empty({room, 3}, at::kDouble), at::empty({room}, at::kLong), at::empty({room}, at::kLong),
      at::empty({int64_t(parts.size())}, at::kDouble), at::zeros({num_owned}, at::kLong)};
  const Written to = {reinterpret_cast<Vector *>(found.vectors.data_ptr<double>()),
                      found.senders.data_ptr<int64_t>(), found.receivers.data_ptr<int64_t>(),
                      found.neighbors.data_ptr<int64_t>()};
  double *nearest = found.nearest.data_ptr<double>();
  int64_t edges = 0, next = 0;    // of the last part
  at::parallel_for(0, int64_t(parts.size()), 1, [&](int64_t first, int64_t end) {
    for (int64_t k = first; k < end; k++) {
      double least = std::numeric_limits<double>::infinity();
      const auto ends = write(pairs, square, row_of.const_data_ptr<int>(), parts[k], to, least);
      nearest[k] = least;
      if (k + 1 == int64_t(parts.size())) std::tie(edges, next) = ends;
    }
  });
  if (guessed && next < receivers.numel()) {    // there are more
    return select_edges(receivers, senders, points, image_rows, num_owned, cutoff, 0);
  }
  for (at::Tensor *each : {&found.vectors, &found.senders, &found.receivers}) {
    *each = each->narrow(0, 0, edges);
  }
  return found;
}

}    // namespace uma::kernels
