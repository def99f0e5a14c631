// SPDX-License-Identifier: MIT
// Functions of one edge with the sizes that models have, whose loops over channels must become
// vector instructions; see test_kernels.py.

#include "edge.h"

namespace uma::kernels {

using T = float;

#define UMA_ROTATION_REVERSED(Do, l, M)                                                            \
  extern "C" void rotate_in_reverse_##Do##_##l##_##M(                                              \
      const T *D, const T *h, int channels, const T *scale, const int *scales, const int *columns, \
      const T *g, const T *generators, T *g_scale, T *g_h, Torque<T> &torque)                      \
  {                                                                                                \
    rotate_in_reverse<Rows::Do>(Constant<l>(), Constant<M>(), D, h, channels, scale, scales,       \
                                columns, g, generators, g_scale, g_h, torque);                     \
  }

#define UMA_ROTATIONS(l, M)                                                                        \
  extern "C" void rotate_in_##l##_##M(const T *D, const T *h, int channels, const T *scale,        \
                                      const int *scales, const int *columns, T *x)                 \
  {                                                                                                \
    rotate_in(Constant<l>(), Constant<M>(), D, h, channels, scale, scales, columns, x);            \
  }                                                                                                \
  UMA_ROTATION_REVERSED(Set, l, M)                                                                 \
  UMA_ROTATION_REVERSED(Add, l, M)                                                                 \
  extern "C" void rotate_out_##l##_##M(const T *D, const T *y, const int *columns, T weight,       \
                                       int channels, T *out)                                       \
  {                                                                                                \
    rotate_out(Constant<l>(), Constant<M>(), D, y, columns, weight, channels, out);                \
  }                                                                                                \
  extern "C" void rotate_out_reverse_##l##_##M(                                                    \
      const T *D, const T *y, const int *columns, T weight, int channels, const T *g,              \
      const T *generators, T *g_y, Torque<T> &torque, T &g_weight)                                 \
  {                                                                                                \
    rotate_out_reverse(Constant<l>(), Constant<M>(), D, y, columns, weight, channels, g,           \
                       generators, g_y, torque, g_weight);                                         \
  }

#define UMA_GATES(M)                                                                               \
  extern "C" void gate_degree_##M(const T *p, int gates, int front, const int *columns,            \
                                  int channels, T *q)                                              \
  {                                                                                                \
    gate_degree(Constant<M>(), p, gates, front, columns, channels, q);                             \
  }                                                                                                \
  extern "C" void gate_degree_reverse_##M(const T *p, int gates, int front, const int *columns,    \
                                          int channels, const T *g_q, T *g_p)                      \
  {                                                                                                \
    gate_degree_reverse(Constant<M>(), p, gates, front, columns, channels, g_q, g_p);              \
  }

UMA_ROTATIONS(1, 1)
UMA_ROTATIONS(2, 2)
UMA_ROTATIONS(3, 2)
UMA_ROTATIONS(4, 2)
UMA_GATES(1)
UMA_GATES(2)

extern "C" T hidden(T *x, const T *weight, const T *bias, T *out)
{
  return norm_silu(x, Constant<128>(), weight, bias, T(1e-5), out);
}

extern "C" void hidden_reverse(const T *normalized, T scale, const T *weight, const T *bias, T *g)
{
  norm_silu_reverse(normalized, scale, Constant<128>(), weight, bias, g);
}

}    // namespace uma::kernels
