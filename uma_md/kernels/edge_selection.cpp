// SPDX-License-Identifier: MIT

#include "edge_selection.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <utility>
#include <vector>

namespace uma::kernels {
namespace {

using Vector = std::array<double, 3>;

Vector difference(const Vector &from, const Vector &to)
{
  return {to[0] - from[0], to[1] - from[1], to[2] - from[2]};
}

double square_of(const Vector &v)
{
  return v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
}

struct View {
  const int *receivers, *senders;
  const Vector *points;
};

struct Range {
  int64_t first, end;    // pairs
};

// What one thread looks at, and the room for its edges.
struct Part {
  const Range *first_range, *end_range;
  int64_t first_edge = 0, end_edge = 0;
};

// The end of a part's edges, and whether there was room for all.
struct Found {
  int64_t end_edge = 0;
  bool all = false;
};

struct Written {
  Vector *vectors;
  int *senders, *receivers;
  int64_t *neighbors;
};

int64_t count(const View &pairs, double square, const Part &part)
{
  int64_t edges = 0;
  for (const Range *range = part.first_range; range < part.end_range; range++) {
    for (int64_t pair = range->first; pair < range->end; pair++) {
      const Vector &from = pairs.points[pairs.receivers[pair]];
      edges += square_of(difference(from, pairs.points[pairs.senders[pair]])) < square;
    }
  }
  return edges;
}

// Writes edges until the part's room is full. Whether a pair is an edge cannot be foretold, so
// nothing branches on it: the next one overwrites what is none. What is pointed to is named first,
// since it is read anew after each write otherwise.
template <class Row>
Found write(const View &pairs, const Row &row, double square, const Part &part, const Written &to,
            double &nearest)
{
  const auto [receivers, senders, points] = pairs;
  const auto [vectors, to_senders, to_receivers, neighbors] = to;
  const auto [first_range, end_range, first_edge, end_edge] = part;
  int64_t edge = first_edge;
  double least = std::numeric_limits<double>::infinity();
  bool all = true;
  for (const Range *range = first_range; range < end_range && all; range++) {
    const int64_t end_pair = range->end;
    int64_t pair = range->first;
    while (pair < end_pair && edge < end_edge) {
      const int receiver = receivers[pair];
      const Vector from = points[receiver];
      const int64_t before = edge;
      for (; pair < end_pair && edge < end_edge && receivers[pair] == receiver; pair++) {
        const int sender = senders[pair];
        const auto [x, y, z] = difference(from, points[sender]);
        const double squared = square_of({x, y, z});
        vectors[edge][0] = x;    // not as an array, which compilers write twice
        vectors[edge][1] = y;
        vectors[edge][2] = z;
        to_receivers[edge] = receiver;
        to_senders[edge] = row(sender);
        edge += squared < square;
        least = std::min(least, squared);
      }
      // Other threads may count edges of the same receiver.
      std::atomic_ref(neighbors[receiver]).fetch_add(edge - before, std::memory_order_relaxed);
    }
    all = pair == end_pair;
  }
  nearest = least;
  return {edge, all};
}

int64_t parts_of(int64_t pairs)
{
  constexpr int64_t LEAST = int64_t(1) << 14;
  return std::clamp<int64_t>(pairs / LEAST, 1, at::get_num_threads());
}

// All pairs, in as many ranges as there will be parts.
at::Tensor all_of(int64_t pairs)
{
  const int64_t number = parts_of(pairs);
  auto ranges = at::empty({number, 2}, at::kLong);
  auto *range = reinterpret_cast<Range *>(ranges.data_ptr<int64_t>());
  for (int64_t k = 0; k < number; k++) {
    range[k] = {pairs * k / number, pairs * (k + 1) / number};
  }
  return ranges;
}

// Parts of ranges that have about as many pairs each.
std::vector<Part> cut(const at::Tensor &ranges)
{
  const auto *first = reinterpret_cast<const Range *>(ranges.const_data_ptr<int64_t>());
  const Range *end = first + ranges.size(0);
  int64_t pairs = 0;
  for (const Range *range = first; range < end; range++) pairs += range->end - range->first;
  const int64_t number = parts_of(pairs);
  std::vector<Part> parts;
  int64_t before = 0;
  for (int64_t k = 1; k <= number; k++) {
    const Range *start = first;
    for (; first < end && before < pairs * k / number; first++) before += first->end - first->first;
    parts.push_back({start, k == number ? end : first});
  }
  return parts;
}

template <class Work> void for_parts(int64_t parts, const Work &work)
{
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t end) {
    for (int64_t k = first; k < end; k++) work(k);
  });
}

// Counts the edges of each part and gives it room for them; returns their number.
int64_t give_room(std::vector<Part> &parts, const View &pairs, double square)
{
  for_parts(int64_t(parts.size()),
            [&](int64_t k) { parts[k].end_edge = count(pairs, square, parts[k]); });
  int64_t edges = 0;
  for (Part &part : parts) {
    part.first_edge = edges;
    part.end_edge = edges += part.end_edge;
  }
  return edges;
}

}    // namespace

bool EdgeSelection::Memory::held() const
{
  return vectors.held_elsewhere() || senders.held_elsewhere() || receivers.held_elsewhere();
}

int64_t EdgeSelection::Memory::bytes() const
{
  return vectors.bytes() + senders.bytes() + receivers.bytes();
}

void EdgeSelection::Memory::reserve(int64_t edges)
{
  vectors.reserve(edges, 3, at::kDouble);
  senders.reserve(edges, 1, at::kInt);
  receivers.reserve(edges, 1, at::kInt);
}

int64_t EdgeSelection::bytes() const
{
  return memories_[0].bytes() + memories_[1].bytes();
}

// One that nothing else holds: the second where a caller still has the edges of the call before.
EdgeSelection::Memory &EdgeSelection::free_memory()
{
  if (!memories_[0].held()) return memories_[0];
  if (memories_[1].held()) memories_[1] = {};
  return memories_[1];
}

// One thread writes into the room that there is, and only if this is too small counts before it
// writes again. Several must know how many edges come before theirs.
SelectedEdges EdgeSelection::operator()(const CandidatePairs &pairs, double cutoff)
{
  const View view = {pairs.receivers.const_data_ptr<int>(), pairs.senders.const_data_ptr<int>(),
                     reinterpret_cast<const Vector *>(pairs.points.const_data_ptr<double>())};
  const int *rows = pairs.rows.defined() ? pairs.rows.const_data_ptr<int>() : nullptr;
  const auto ranges = pairs.ranges.defined() ? pairs.ranges : all_of(pairs.receivers.numel());
  auto parts = cut(ranges);
  const auto num_parts = int64_t(parts.size());
  const double square = cutoff * cutoff;
  Memory &memory = free_memory();
  const auto nearest = at::empty({num_parts}, at::kDouble);
  at::Tensor neighbors;
  std::vector<Found> found(num_parts);
  const auto write_all = [&] {
    neighbors = at::zeros({pairs.num_receivers}, at::kLong);
    const Written to = {reinterpret_cast<Vector *>(memory.vectors.rows<double>()),
                        memory.senders.rows<int>(), memory.receivers.rows<int>(),
                        neighbors.data_ptr<int64_t>()};
    for_parts(num_parts, [&](int64_t k) {
      double &least = nearest.data_ptr<double>()[k];
      found[k] = rows ? write(
                            view, [=](int j) { return rows[j]; }, square, parts[k], to, least)
                      : write(view, [](int j) { return j; }, square, parts[k], to, least);
    });
  };
  parts[0].end_edge = memory.senders.bytes() / int64_t(sizeof(int));
  if (num_parts == 1 && parts[0].end_edge > 0) write_all();
  if (!found.back().all) {
    memory.reserve(give_room(parts, view, square) + 1);    // so that one looks at all pairs
    write_all();
  }
  const int64_t edges = found.back().end_edge;
  return {memory.vectors.tensor(edges), memory.senders.tensor(edges).squeeze(1),
          memory.receivers.tensor(edges).squeeze(1), nearest, neighbors};
}

}    // namespace uma::kernels
