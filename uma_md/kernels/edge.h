// SPDX-License-Identifier: MIT
// The element-wise parts of stages on edges, for one edge. CPUs and GPUs put loops around them.

#ifndef UMA_KERNELS_EDGE_H
#define UMA_KERNELS_EDGE_H

#include "gate.h"
#include "radial.h"
#include "rotation.h"
#include "wigner.h"

namespace uma::kernels {

// What all edges share.
template <class T> struct Constants {
  Sizes sizes;
  FrameLayout frame;
  Layout ends, scale, hidden, out, first;    // of x, its scale, the gated, y, and the first message
  int gates;                                 // columns in front of the hidden ones
  T cutoff, gaussian, epsilon;               // exponent's coefficient; what norms add
  T generators[LARGEST_DEGREE + 1][LARGEST_DEGREE + 1];
};

// What is known of each edge; arrays by edge.
template <class T> struct EdgeArrays {
  T *frames;    // FrameLayout::size
  T *distances;
  T *envelopes, *slopes;
  T *basis;    // num_basis
  T *pulls;    // 3: torque x, dE/ddistance, torque z, gathered over all stages
};

#ifdef UMA_GPU

// Calls a function with every degree and its kept orders.
template <int l = 0, int L, int M, class Function>
UMA_INLINE inline void for_degrees(Constant<L> lmax, Constant<M> mmax, const Function &function)
{
  function(Constant<l>(), Constant<kept_orders(l, M)>());
  if constexpr (l < L) for_degrees<l + 1>(lmax, mmax, function);
}

#else

// Calls a function with a degree and its orders: as constants, which compile to straight code, for
// the sizes that models have; as numbers for others, and for all where UMA_COMPACT asks for little
// code.
template <int l, class Function>
UMA_INLINE inline void with_orders(int orders, const Function &function)
{
#ifdef UMA_COMPACT
  constexpr bool usual = false;
#else
  constexpr bool usual = l <= 4;
#endif
  if constexpr (usual) {
    if (orders == l) return function(Constant<l>(), Constant<l>());
    if (orders == 0) return function(Constant<l>(), Constant<0>());
  }
  if constexpr (usual && l > 2) {
    if (orders == 2) return function(Constant<l>(), Constant<2>());
  }
  return function(int(l), orders);
}

// Calls a function with every degree and its kept orders.
template <int l = 0, class Function>
UMA_INLINE inline void for_degrees(int lmax, int mmax, const Function &function)
{
  with_orders<l>(kept_orders(l, mmax), function);
  if constexpr (l < LARGEST_DEGREE) {
    if (l < lmax) for_degrees<l + 1>(lmax, mmax, function);
  }
}

#endif

// Rows of the edge's rotation, from its degree 1.
template <class T>
UMA_INLINE inline void wigner_matrices(const Constants<T> &constants, const WignerTerm *terms,
                                       int num_terms, const T *R, T *frame)
{
  T all[matrix_start(LARGEST_DEGREE + 1)];
  const int size = matrix_start(constants.sizes.lmax + 1);
  for (int k = 0; k < size; k++) all[k] = 0;
  all[0] = 1;
  for (int k = 0; k < 9 && size > 1; k++) all[1 + k] = R[k];
  for (int k = 0; k < num_terms; k++) {
    const WignerTerm &term = terms[k];
    const T *below = all + matrix_start(term.degree - 1);
    all[matrix_start(term.degree) + term.out] +=
        T(term.factor) * R[term.of_first] * below[term.of_below];
  }
  for (int l = 0; l <= constants.sizes.lmax; l++) {
    const int rows = needed_orders(l, constants.sizes.mmax), row = 2 * l + 1;
    const T *matrix = all + matrix_start(l) + (l - rows) * row;
    T *out = frame + constants.frame.middle[l] - rows * row;
    for (int k = 0; k < (2 * rows + 1) * row; k++) out[k] = matrix[k];
  }
}

// Length, envelope and rotation of an edge, from its vector.
template <class T>
UMA_INLINE inline void geometry(const Constants<T> &constants, const WignerTerm *terms,
                                int num_terms, const T *vector, int e, const EdgeArrays<T> &edges)
{
  const T x = vector[0], y = vector[1], z = vector[2];
  const T distance = root(x * x + y * y + z * z);
  edges.distances[e] = distance;
  envelope(distance, constants.cutoff, edges.envelopes[e], edges.slopes[e]);
  T R[9];
  rotation_onto_y(x / distance, y / distance, z / distance, R);
  wigner_matrices(constants, terms, num_terms, R, edges.frames + int64(e) * constants.frame.size);
}

// In the frame, where y is the edge, dE/dvector = (-torque_z, distance dE/ddistance, torque_x) /
// distance; the rotation of degree 1 brings it back.
template <class T>
UMA_INLINE inline void gradient(const Constants<T> &constants, const EdgeArrays<T> &edges, int e,
                                T *g_vector)
{
  const T *D = edges.frames + int64(e) * constants.frame.size + constants.frame.middle[1];
  const T *pull = edges.pulls + 3 * int64(e);
  const T x = -pull[2] / edges.distances[e], y = pull[1], z = pull[0] / edges.distances[e];
  for (int k = 0; k < 3; k++) g_vector[k] = D[k - 3] * x + D[k] * y + D[k + 3] * z;
}

// An end's features into the frame, scaled; rows of 'scale' and 'x' begin at the end's columns.
template <class T, class Shape>
UMA_INLINE inline void end_into_frame(const Constants<T> &constants, const Shape &shape,
                                      const T *frame, const T *h, const T *scale, T *x)
{
  for_degrees(shape.lmax, shape.mmax, [&](auto l, auto M) UMA_INLINE {
    const int middle = coefficient(l, 0);
    rotate_in(l, M, frame + constants.frame.middle[l], h + l * l * shape.channels, shape.channels,
              scale, constants.scale.column + middle, constants.ends.column + middle, x);
  });
}

template <Rows Do, class T, class Shape>
UMA_INLINE inline void end_into_frame_reverse(const Constants<T> &constants, const Shape &shape,
                                              const T *frame, const T *h, const T *scale,
                                              const T *g_x, T *g_scale, T *g_h, Torque<T> &torque)
{
  for_degrees(shape.lmax, shape.mmax, [&](auto l, auto M) UMA_INLINE {
    const int middle = coefficient(l, 0), first = l * l * shape.channels;
    rotate_in_reverse<Do>(l, M, frame + constants.frame.middle[l], h + first, shape.channels, scale,
                          constants.scale.column + middle, constants.ends.column + middle, g_x,
                          constants.generators[l], g_scale, g_h + first, torque);
  });
}

// A message out of the frame, times a weight, added to its receiver's row.
template <class T, class Shape>
UMA_INLINE inline void out_of_frame(const Constants<T> &constants, const Shape &shape,
                                    const Layout &layout, const T *frame, const T *y, T weight,
                                    T *row)
{
  for_degrees(shape.lmax, shape.mmax, [&](auto l, auto M) UMA_INLINE {
    rotate_out(l, M, frame + constants.frame.middle[l], y, layout.column + coefficient(l, 0),
               weight, shape.channels, row + l * l * shape.channels);
  });
}

template <class T, class Shape>
UMA_INLINE inline void out_of_frame_reverse(const Constants<T> &constants, const Shape &shape,
                                            const Layout &layout, const T *frame, const T *y,
                                            T weight, const T *g_row, T *g_y, Torque<T> &torque,
                                            T &g_weight)
{
  for_degrees(shape.lmax, shape.mmax, [&](auto l, auto M) UMA_INLINE {
    rotate_out_reverse(l, M, frame + constants.frame.middle[l], y,
                       layout.column + coefficient(l, 0), weight, shape.channels,
                       g_row + l * l * shape.channels, constants.generators[l], g_y, torque,
                       g_weight);
  });
}

// The gate of an edge: 'p' has the gates in front.
template <class T, class Shape>
UMA_INLINE inline void gate(const Constants<T> &constants, const Shape &shape, const T *p, T *q)
{
  const int H = shape.hidden_channels, front = shape.lmax * H;
  gate_scalars(p + front, H, q);
  for_degrees(shape.lmax, shape.mmax, [&](auto l, auto M) UMA_INLINE {
    if (l == 0) return;
    gate_degree(M, p, (l - 1) * H, front, constants.hidden.column + coefficient(l, 0), H, q);
  });
}

template <class T, class Shape>
UMA_INLINE inline void gate_reverse(const Constants<T> &constants, const Shape &shape, const T *p,
                                    const T *g_q, T *g_p)
{
  const int H = shape.hidden_channels, front = shape.lmax * H;
  gate_scalars_reverse(p + front, H, g_q, g_p + front);
  for_degrees(shape.lmax, shape.mmax, [&](auto l, auto M) UMA_INLINE {
    if (l == 0) return;
    gate_degree_reverse(M, p, (l - 1) * H, front, constants.hidden.column + coefficient(l, 0), H,
                        g_q, g_p);
  });
}

}    // namespace uma::kernels

#endif
