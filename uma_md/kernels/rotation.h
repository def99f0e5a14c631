// SPDX-License-Identifier: MIT
// Features of one degree rotated into the frame of an edge and back, and the reverse of both.
//
// In the frame, x_m = sum_k D_mk h_k. The network does not see rotations about the edge's own axis,
// so all that a rotation of the edge does to the energy is a torque. Rotating the edge by a small
// w, in its frame, changes D to (1 - w.J) D with the antisymmetric generators J of the degree,
// hence
//
//   into the frame:  torque_a = -g_x . (J_a x) = x . (J_a g_x)
//   out of it:       torque_a = weight z . (J_a y)    for out = weight D^T y, z = D g_out
//
// with a = x, z (the frame's y axis is the edge). Both are 'torque_of' of what has one more order
// (x and z, from all of h and g_out) and of what has the kept orders alone (g_x and y).
// docs/kernels.md derives this.

#ifndef UMA_KERNELS_ROTATION_H
#define UMA_KERNELS_ROTATION_H

#include "portable.h"
#include "sizes.h"

namespace uma::kernels {

// Entry of the generators that connects the orders m and m + 1 of degree l, m >= 0.
UMA_INLINE inline double generator(int l, int m)
{
  return root((m == 0 ? 2.0 : 1.0) * (l - m) * (l + m + 1)) / 2;
}

// The columns of a degree's orders |m| <= M, read before a loop over channels: a compiler makes
// vector instructions of the loop only where nothing that it stores can change them.
template <class Orders> class Columns {
 public:
  UMA_INLINE Columns(Orders M, const int *columns) : M_(M)
  {
    for_orders(M, [&](int m) UMA_INLINE { columns_[M + m] = columns[m]; });
  }

  UMA_INLINE int operator[](int m) const { return columns_[M_ + m]; }

 private:
  Orders M_;
  int columns_[capacity<Orders>];
};

// Torque along the frame's x and z axes, in units of which the edge's gradients are made.
template <class T> struct Torque {
  T x = 0, z = 0;
};

// wide . (J_x kept) and wide . (J_z kept) of one channel, for 'wide' of orders up to R and 'kept'
// of those up to M; 'generators' count from m = 0.
template <class T, class Orders, class Kept, int r, int k>
UMA_INLINE inline Torque<T> torque_of(Orders R, Kept M, const T (&wide)[r], const T (&kept)[k],
                                      const T *generators)
{
  Torque<T> torque;
  for_orders(R, [&](int m) UMA_INLINE {
    if (m < 0 || m >= R) return;
    const T here = m <= M ? kept[M + m] : T(0), here_negative = m <= M ? kept[M - m] : T(0);
    const T next = m < M ? kept[M + m + 1] : T(0), next_negative = m < M ? kept[M - m - 1] : T(0);
    T along_x = wide[R + m + 1] * here - wide[R + m] * next;
    T along_z = wide[R + m] * next_negative - wide[R - m - 1] * here;
    if (m > 0) {
      along_x += wide[R - m - 1] * here_negative - wide[R - m] * next_negative;
      along_z += wide[R + m + 1] * here_negative - wide[R - m] * next;
    }
    torque.x += generators[m] * along_x;
    torque.z += generators[m] * along_z;
  });
  return torque;
}

// The sum over the orders |m| <= M of D_mk in_m, added to another: row k of what is rotated back.
template <class T, class Orders, int n>
UMA_INLINE inline T rotated_back(Orders M, int row, const T *D, int k, const T (&in)[n], T sum)
{
  for_orders(M, [&](int m) UMA_INLINE { sum += D[m * row + k] * in[M + m]; });
  return sum;
}

// x_m = scale_|m| sum_k D_mk h_k for the orders |m| <= M of degree l and every channel.
//   D        the row m = 0 of the rotation
//   h        rows k = 0..2 l of 'channels'
//   columns_of_orders  in 'x', counted from the middle; columns_of_scale those in 'scale', where -m
//                      has the column of m
template <class T, class Degree, class Orders>
UMA_INLINE inline void rotate_in(Degree l, Orders M, const T *UMA_RESTRICT D,
                                 const T *UMA_RESTRICT h, int channels, const T *UMA_RESTRICT scale,
                                 const int *columns_of_scale, const int *columns_of_orders,
                                 T *UMA_RESTRICT x)
{
  const int row = 2 * l + 1;
  const Columns columns(M, columns_of_orders);
  const Columns scale_columns(M, columns_of_scale);
  UMA_CHANNELS(c, channels)
  {
    T in[capacity<Degree>];
    for_rows(l, [&](int k) UMA_INLINE { in[k] = h[k * channels + c]; });
    for_orders(M, [&](int m) UMA_INLINE {
      T sum = 0;
      for_rows(l, [&](int k) UMA_INLINE { sum += D[m * row + k] * in[k]; });
      x[columns[m] + c] = sum * scale[scale_columns[m] + c];
    });
  }
}

enum class Rows { Skip, Set, Add };

// Reverse of 'rotate_in': 'g' is the gradient with respect to x. Sets that with respect to the
// scale, does as told with that to h, and adds to the torque.
template <Rows Do, class T, class Degree, class Orders>
UMA_INLINE inline void
rotate_in_reverse(Degree l, Orders M, const T *UMA_RESTRICT D, const T *UMA_RESTRICT h,
                  int channels, const T *UMA_RESTRICT scale, const int *columns_of_scale,
                  const int *columns_of_orders, const T *UMA_RESTRICT g, const T *generators,
                  T *UMA_RESTRICT g_scale, T *UMA_RESTRICT g_h, Torque<T> &torque)
{
  auto R = with_next_order(l, M);
  const int row = 2 * l + 1;
  T torque_x = 0, torque_z = 0;
  const Columns columns(M, columns_of_orders);
  const Columns scale_columns(M, columns_of_scale);
  UMA_CHANNELS_SUM(c, channels, torque_x, torque_z)
  {
    T in[capacity<Degree>], wide[capacity<decltype(R)>], g_frame[capacity<Orders>] = {};
    for_rows(l, [&](int k) UMA_INLINE { in[k] = h[k * channels + c]; });
    for_orders(R, [&](int m) UMA_INLINE {
      T sum = 0;
      for_rows(l, [&](int k) UMA_INLINE { sum += D[m * row + k] * in[k]; });
      wide[R + m] = sum;
    });
    for_orders(M, [&](int m) UMA_INLINE {
      if (m < 0) return;
      const T s = scale[scale_columns[m] + c], plus = g[columns[m] + c];
      T g_s = plus * wide[R + m];
      g_frame[M + m] = plus * s;
      if (m > 0) {
        const T minus = g[columns[-m] + c];
        g_s += minus * wide[R - m];
        g_frame[M - m] = minus * s;
      }
      g_scale[scale_columns[m] + c] = g_s;
    });
    const Torque<T> added = torque_of(R, M, wide, g_frame, generators);
    torque_x += added.x;
    torque_z += added.z;
    if constexpr (Do != Rows::Skip) {
      for_rows(l, [&](int k) UMA_INLINE {
        const T sum = Do == Rows::Add ? g_h[k * channels + c] : T(0);
        g_h[k * channels + c] = rotated_back(M, row, D, k, g_frame, sum);
      });
    }
  }
  torque.x += torque_x;
  torque.z += torque_z;
}

// Adds weight sum_m D_mk y_m to the rows k = 0..2 l of 'out'.
template <class T, class Degree, class Orders>
UMA_INLINE inline void rotate_out(Degree l, Orders M, const T *UMA_RESTRICT D,
                                  const T *UMA_RESTRICT y, const int *columns_of_orders, T weight,
                                  int channels, T *UMA_RESTRICT out)
{
  const int row = 2 * l + 1;
  const Columns columns(M, columns_of_orders);
  UMA_CHANNELS(c, channels)
  {
    T in[capacity<Orders>];
    for_orders(M, [&](int m) UMA_INLINE { in[M + m] = weight * y[columns[m] + c]; });
    for_rows(l, [&](int k) UMA_INLINE {
      out[k * channels + c] = rotated_back(M, row, D, k, in, out[k * channels + c]);
    });
  }
}

// Reverse of 'rotate_out': 'g' is the gradient with respect to 'out'. Sets that with respect to y;
// adds to the torque and to the gradient with respect to the weight.
template <class T, class Degree, class Orders>
UMA_INLINE inline void
rotate_out_reverse(Degree l, Orders M, const T *UMA_RESTRICT D, const T *UMA_RESTRICT y,
                   const int *columns_of_orders, T weight, int channels, const T *UMA_RESTRICT g,
                   const T *generators, T *UMA_RESTRICT g_y, Torque<T> &torque, T &g_weight)
{
  auto R = with_next_order(l, M);
  const int row = 2 * l + 1;
  T torque_x = 0, torque_z = 0, product = 0;
  const Columns columns(M, columns_of_orders);
  UMA_CHANNELS_SUM(c, channels, torque_x, torque_z, product)
  {
    T in[capacity<Degree>], wide[capacity<decltype(R)>], kept[capacity<Orders>];
    for_rows(l, [&](int k) UMA_INLINE { in[k] = g[k * channels + c]; });
    for_orders(R, [&](int m) UMA_INLINE {
      T sum = 0;
      for_rows(l, [&](int k) UMA_INLINE { sum += D[m * row + k] * in[k]; });
      wide[R + m] = sum;
    });
    T along = 0;
    for_orders(M, [&](int m) UMA_INLINE {
      kept[M + m] = y[columns[m] + c];
      along += wide[R + m] * kept[M + m];
      g_y[columns[m] + c] = weight * wide[R + m];
    });
    const Torque<T> added = torque_of(R, M, wide, kept, generators);
    torque_x += added.x;
    torque_z += added.z;
    product += along;
  }
  torque.x += weight * torque_x;
  torque.z += weight * torque_z;
  g_weight += product;
}

}    // namespace uma::kernels

#endif
