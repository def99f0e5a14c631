// SPDX-License-Identifier: MIT
// The gated nonlinearity on edge features sorted by order; see uma_md/nn/gate.py.

#ifndef UMA_KERNELS_GATE_H
#define UMA_KERNELS_GATE_H

#include "portable.h"

namespace uma::kernels {

// q = silu(p) for the scalars.
template <class T>
UMA_INLINE inline void gate_scalars(const T *UMA_RESTRICT p, int channels, T *UMA_RESTRICT q)
{
  UMA_CHANNELS(c, channels)
  {
    q[c] = p[c] * sigmoid(p[c]);
  }
}

template <class T>
UMA_INLINE inline void gate_scalars_reverse(const T *UMA_RESTRICT p, int channels,
                                            const T *UMA_RESTRICT g_q, T *UMA_RESTRICT g_p)
{
  UMA_CHANNELS(c, channels)
  {
    const T s = sigmoid(p[c]);
    g_p[c] = g_q[c] * s * (T(1) + p[c] * (T(1) - s));
  }
}

// q_m = p_m sigmoid(gate) for the orders |m| <= M of one degree. Columns count from m = 0 and are
// those of q; p has them 'front' columns later, and the degree's gates in 'gates'.
template <class T, class Orders>
UMA_INLINE inline void gate_degree(Orders M, const T *UMA_RESTRICT p, int gates, int front,
                                   const int *columns, int channels, T *UMA_RESTRICT q)
{
  UMA_CHANNELS(c, channels)
  {
    const T s = sigmoid(p[gates + c]);
    for_orders(M, [&](int m) UMA_INLINE { q[columns[m] + c] = p[front + columns[m] + c] * s; });
  }
}

template <class T, class Orders>
UMA_INLINE inline void gate_degree_reverse(Orders M, const T *UMA_RESTRICT p, int gates, int front,
                                           const int *columns, int channels,
                                           const T *UMA_RESTRICT g_q, T *UMA_RESTRICT g_p)
{
  UMA_CHANNELS(c, channels)
  {
    const T s = sigmoid(p[gates + c]);
    T sum = 0;
    for_orders(M, [&](int m) UMA_INLINE {
      const T g = g_q[columns[m] + c];
      sum += g * p[front + columns[m] + c];
      g_p[front + columns[m] + c] = g * s;
    });
    g_p[gates + c] = sum * s * (T(1) - s);
  }
}

}    // namespace uma::kernels

#endif
