// SPDX-License-Identifier: MIT
// The element-wise parts of edge stages, for one edge or for the edges of one receiver.

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

}    // namespace uma::kernels

#endif
