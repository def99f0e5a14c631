// SPDX-License-Identifier: MIT
// The kernels on a GPU, compiled when they are first used, for one network:
//
//   UMA_REAL float or double
//   UMA_LMAX, UMA_MMAX, UMA_CHANNELS_OF_NODES, UMA_HIDDEN_CHANNELS, UMA_EDGE_CHANNELS,
//   UMA_NUM_BASIS UMA_GROUP threads that share an edge: half a warp or a warp
//
// Kernels by edge have blocks of (UMA_GROUP, edges); kernels by row have blocks of (channels,
// rows), in which each thread follows the row's edges in their order. No thread adds to what
// another one writes, so that results are the same to the last bit in every run.

#define UMA_GPU
#include "gpu_arguments.h"
#include "halves.h"
#include "node_kernels.h"

// CUDA's header of half precision is not at hand when this is compiled.
#ifndef UMA_TO_HALF
#define UMA_TO_HALF(bits, x) asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x))
#define UMA_FROM_HALF(x, bits) asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits))
#endif

#ifndef UMA_KERNEL
#define UMA_KERNEL(name, Arguments) extern "C" __global__ void name(const Arguments<Real> p)
#endif

namespace uma::kernels::gpu {
namespace {

using Real = UMA_REAL;

template <int Orders>
using Sizes = Shape<Constant<UMA_LMAX>, Constant<Orders>, Constant<UMA_CHANNELS_OF_NODES>,
                    Constant<UMA_HIDDEN_CHANNELS>>;
constexpr Sizes<UMA_MMAX> SHAPE{};
constexpr Sizes<0> FIRST_SHAPE{};    // of first messages

// The edge or row of this thread.
__device__ inline int index()
{
  return int(blockIdx.x * blockDim.y + threadIdx.y);
}

// The edge of this thread where each thread has one.
__device__ inline int single_index()
{
  return int(blockIdx.x * blockDim.x + threadIdx.x);
}

__device__ inline const Real *frame(const Constants<Real> &constants, const Block<Real> &block,
                                    int e)
{
  return block.edges.frames + int64(e) * constants.frame.size;
}

template <class Number> __device__ inline Number *node(Number *rows, int row)
{
  return rows + int64(row) * SHAPE.node_width();
}

__device__ inline int first_not_below(const int *sorted, int first, int end, int value)
{
  while (first < end) {
    const int middle = (first + end) / 2;
    if (sorted[middle] < value)
      first = middle + 1;
    else
      end = middle;
  }
  return first;
}

// Calls a function with the edges of a block, counted from its first, that a row receives.
template <class Function>
__device__ inline void for_received(const Block<Real> &block, int row, const Function &function)
{
  const int stop = block.first_edge + block.num_edges;
  const int first = max(block.starts[row], block.first_edge);
  const int end = min(block.starts[row + 1], stop);
  for (int edge = first; edge < end; edge++) function(edge - block.first_edge);
}

// The same for those that it sends.
template <class Function>
__device__ inline void for_sent(const Block<Real> &block, int row, const Function &function)
{
  const int first = block.sender_starts[row], end = block.sender_starts[row + 1];
  const int stop = block.first_edge + block.num_edges;
  for (int k = first_not_below(block.by_sender, first, end, block.first_edge); k < end; k++) {
    const int edge = block.by_sender[k];
    if (edge >= stop) break;
    function(edge - block.first_edge);
  }
}

template <class Arguments> __device__ inline void for_node(const Arguments &arguments)
{
  const int i = index();
  if (i < arguments.num) run_node(arguments, SHAPE, i);
}

template <class Shape>
__device__ inline void rotate_out_rows(const RotateOut<Real> &p, const Shape &shape)
{
  const int row = p.block.first_receiver + index();
  if (row >= p.block.end_receiver) return;
  constexpr int C = UMA_CHANNELS_OF_NODES, COEFFICIENTS = (UMA_LMAX + 1) * (UMA_LMAX + 1);
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    Real *out = node(p.rows, row) + c;
    Real sums[COEFFICIENTS];
    unroll<0, COEFFICIENTS - 1>([&](int k) { sums[k] = out[k * C]; });
    for_received(p.block, row, [&](int e) {
      const Real *D = frame(p.constants, p.block, e), *y = p.y + int64(e) * p.layout.width + c;
      const Real weight = p.factor * p.block.edges.envelopes[e];
      for_degrees(shape.lmax, shape.mmax, [&](auto l, auto M) {
        const int *columns = p.layout.column + coefficient(l, 0);
        Real in[capacity<decltype(M)>];
        for_orders(M, [&](int m) { in[M + m] = weight * y[columns[m]]; });
        for_rows(l, [&](int k) {
          Real &sum = sums[l * l + k];
          sum = rotated_back(M, 2 * l + 1, D + p.constants.frame.middle[l], k, in, sum);
        });
      });
    });
    unroll<0, COEFFICIENTS - 1>([&](int k) { out[k * C] = sums[k]; });
  }
}

template <class Shape>
__device__ inline void rotate_out_reverse_edge(const RotateOutReverse<Real> &p, const Shape &shape)
{
  const int e = index();
  if (e >= p.block.num_edges) return;
  const int64 start = int64(e) * p.layout.width;
  Torque<Real> torque;
  Real g_weight = 0;
  out_of_frame_reverse(p.constants, shape, p.layout, frame(p.constants, p.block, e), p.y + start,
                       p.factor * p.block.edges.envelopes[e], node(p.g_rows, p.block.receivers[e]),
                       p.g_y + start, torque, g_weight);
  const Real x = sum_over_channels(torque.x), z = sum_over_channels(torque.z);
  const Real slope = sum_over_channels(g_weight) * p.factor * p.block.edges.slopes[e];
  if (threadIdx.x == 0) {
    Real *pull = p.block.edges.pulls + 3 * int64(e);
    pull[0] += x;
    pull[1] += slope;
    pull[2] += z;
  }
}

__device__ inline void reverse_end(const RotateInReverse<Real> &p, int e, int end, int row,
                                   Torque<Real> &torque)
{
  const int64 scales = int64(e) * p.constants.scale.width + end * SHAPE.channels;
  const int64 columns = int64(e) * p.constants.ends.width + end * SHAPE.channels;
  end_into_frame_reverse<Rows::Skip>(p.constants, SHAPE, frame(p.constants, p.block, e),
                                     node(p.h, row), p.scale + scales, p.g_x + columns,
                                     p.g_scale + scales, static_cast<Real *>(nullptr), torque);
}

// The bits of the high and the low half of a number.
struct Halves {
  unsigned short high, low;
};

__device__ inline Halves split(float x)
{
  Halves halves;
  float high;
  UMA_TO_HALF(halves.high, x);
  UMA_FROM_HALF(high, halves.high);
  UMA_TO_HALF(halves.low, (x - high) * HALVES_SCALE);
  return halves;
}

}    // namespace

UMA_KERNEL(uma_split, Split)
{
  const int row = index(), pairs = p.columns / 2;
  if (row >= p.num) return;
  const Real *x = p.x + int64(row) * p.stride;
  unsigned *high = p.halves + int64(row) * p.columns, *low = high + pairs;
  for (int k = threadIdx.x; k < pairs; k += UMA_GROUP) {
    const Halves first = split(float(x[2 * k])), second = split(float(x[2 * k + 1]));
    high[k] = first.high | unsigned(second.high) << 16;
    low[k] = first.low | unsigned(second.low) << 16;
  }
}

UMA_KERNEL(uma_geometry, Geometry)
{
  const int e = single_index();
  if (e < p.num) {
    geometry(p.constants, p.terms, p.num_terms, p.vectors + 3 * int64(e), e, p.edges);
  }
}

UMA_KERNEL(uma_gaussians, Geometry)
{
  const int e = index();
  if (e >= p.num) return;
  gaussians(p.edges.distances[e], p.constants.gaussian, p.centers, UMA_NUM_BASIS,
            p.edges.basis + int64(e) * UMA_NUM_BASIS);
}

UMA_KERNEL(uma_gradients, Gradients)
{
  const int e = single_index();
  if (e < p.num) gradient(p.constants, p.edges, e, p.gradients + 3 * int64(e));
}

UMA_KERNEL(uma_hidden, Hidden)
{
  const int e = index();
  if (e >= p.num) return;
  constexpr int WIDTH = UMA_EDGE_CHANNELS;
  Real *row = p.x + int64(e) * WIDTH;
  if (p.layer.sender_table) {
    const Real *sender = p.layer.sender_table + p.sender_numbers[e] * WIDTH;
    const Real *receiver = p.layer.receiver_table + p.receiver_numbers[e] * WIDTH;
    UMA_CHANNELS(c, WIDTH)
    {
      row[c] = (row[c] + sender[c]) + receiver[c];
    }
  }
  const Real scale =
      norm_silu(row, WIDTH, p.layer.weight, p.layer.bias, p.epsilon, p.out + int64(e) * WIDTH);
  if (threadIdx.x == 0) p.scales[e] = scale;
}

UMA_KERNEL(uma_hidden_reverse, HiddenReverse)
{
  const int e = index();
  if (e >= p.num) return;
  const int64 start = int64(e) * UMA_EDGE_CHANNELS;
  norm_silu_reverse(p.normalized + start, p.scales[e], UMA_EDGE_CHANNELS, p.layer.weight,
                    p.layer.bias, p.g + start);
}

UMA_KERNEL(uma_basis_reverse, BasisReverse)
{
  const int e = index();
  if (e >= p.num) return;
  const int64 start = int64(e) * UMA_NUM_BASIS;
  const Real slope = gaussians_reverse(p.edges.distances[e], p.constants.gaussian, p.centers,
                                       UMA_NUM_BASIS, p.edges.basis + start, p.g_basis + start);
  if (threadIdx.x == 0) p.edges.pulls[3 * int64(e) + 1] += slope;
}

UMA_KERNEL(uma_rotate_in, RotateIn)
{
  const int e = index(), end = int(blockIdx.y);
  if (e >= p.block.num_edges) return;
  const int row = end == 0 ? p.block.senders[e] : p.block.receivers[e];
  end_into_frame(p.constants, SHAPE, frame(p.constants, p.block, e), node(p.h, row),
                 p.scale + int64(e) * p.constants.scale.width + end * SHAPE.channels,
                 p.x + int64(e) * p.constants.ends.width + end * SHAPE.channels);
}

UMA_KERNEL(uma_rotate_in_reverse, RotateInReverse)
{
  const int e = index();
  if (e >= p.block.num_edges) return;
  Torque<Real> torque;
  reverse_end(p, e, 0, p.block.senders[e], torque);
  reverse_end(p, e, 1, p.block.receivers[e], torque);
  const Real x = sum_over_channels(torque.x), z = sum_over_channels(torque.z);
  if (threadIdx.x == 0) {
    Real *pull = p.block.edges.pulls + 3 * int64(e);
    pull[0] += x;
    pull[2] += z;
  }
}

UMA_KERNEL(uma_sum_ends, SumEnds)
{
  const int row = index(), rows = p.end == 0 ? p.block.num_rows : p.block.end_receiver;
  if (row >= rows) return;
  constexpr int C = UMA_CHANNELS_OF_NODES, COEFFICIENTS = (UMA_LMAX + 1) * (UMA_LMAX + 1);
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    Real *out = node(p.g_h, row) + c;
    Real sums[COEFFICIENTS];
    unroll<0, COEFFICIENTS - 1>([&](int k) { sums[k] = out[k * C]; });
    const auto add = [&](int e) {
      const Real *D = frame(p.constants, p.block, e);
      const Real *g = p.g_x + int64(e) * p.constants.ends.width + p.end * C + c;
      const Real *scale = p.scale + int64(e) * p.constants.scale.width + p.end * C + c;
      for_degrees(SHAPE.lmax, SHAPE.mmax, [&](auto l, auto M) {
        const int middle = coefficient(l, 0);
        const int *columns = p.constants.ends.column + middle;
        const int *scale_columns = p.constants.scale.column + middle;
        Real in[capacity<decltype(M)>];
        for_orders(M, [&](int m) { in[M + m] = g[columns[m]] * scale[scale_columns[m]]; });
        for_rows(l, [&](int k) {
          Real &sum = sums[l * l + k];
          sum = rotated_back(M, 2 * l + 1, D + p.constants.frame.middle[l], k, in, sum);
        });
      });
    };
    if (p.end == 0)
      for_sent(p.block, row, add);
    else
      for_received(p.block, row, add);
    unroll<0, COEFFICIENTS - 1>([&](int k) { out[k * C] = sums[k]; });
  }
}

UMA_KERNEL(uma_gate, Gate)
{
  const int e = index();
  if (e >= p.num) return;
  const int64 width = p.constants.hidden.width;
  gate(p.constants, SHAPE, p.p + e * (p.constants.gates + width), p.q + e * width);
}

UMA_KERNEL(uma_gate_reverse, GateReverse)
{
  const int e = index();
  if (e >= p.num) return;
  const int64 width = p.constants.hidden.width, start = e * (p.constants.gates + width);
  gate_reverse(p.constants, SHAPE, p.p + start, p.g_q + e * width, p.g_p + start);
}

UMA_KERNEL(uma_rotate_out, RotateOut)
{
  rotate_out_rows(p, SHAPE);
}

UMA_KERNEL(uma_rotate_out_first, RotateOut)
{
  rotate_out_rows(p, FIRST_SHAPE);
}

UMA_KERNEL(uma_rotate_out_reverse, RotateOutReverse)
{
  rotate_out_reverse_edge(p, SHAPE);
}

UMA_KERNEL(uma_rotate_out_first_reverse, RotateOutReverse)
{
  rotate_out_reverse_edge(p, FIRST_SHAPE);
}

UMA_KERNEL(uma_norm, NormArguments)
{
  for_node(p);
}

UMA_KERNEL(uma_norm_reverse, NormReverseArguments)
{
  for_node(p);
}

UMA_KERNEL(uma_node_gate, NodeGateArguments)
{
  for_node(p);
}

UMA_KERNEL(uma_node_gate_reverse, NodeGateReverseArguments)
{
  for_node(p);
}

UMA_KERNEL(uma_sort, SortArguments)
{
  for_node(p);
}

UMA_KERNEL(uma_add, AddArguments)
{
  for_node(p);
}

UMA_KERNEL(uma_silu, SiluArguments)
{
  for_node(p);
}

UMA_KERNEL(uma_silu_reverse, SiluReverseArguments)
{
  for_node(p);
}

}    // namespace uma::kernels::gpu
