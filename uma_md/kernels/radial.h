// SPDX-License-Identifier: MIT
// Functions of an edge's length, and the layers of its radial network; see uma_md/nn/radial.py.

#ifndef UMA_KERNELS_RADIAL_H
#define UMA_KERNELS_RADIAL_H

#include "portable.h"

namespace uma::kernels {

// 1 - 21 u^5 + 35 u^6 - 15 u^7, and its slope -105 u^4 (1 - u)^2 / cutoff, for u = distance /
// cutoff.
template <class T> UMA_INLINE inline void envelope(T distance, T cutoff, T &value, T &slope)
{
  const T u = distance / cutoff;
  const T u4 = u * u * u * u;
  const bool inside = u < T(1);
  value = inside ? T(1) + u4 * u * (T(-21) + u * (T(35) - T(15) * u)) : T(0);
  slope = inside ? T(-105) * u4 * (T(1) - u) * (T(1) - u) / cutoff : T(0);
}

// Gaussians exp(coefficient (distance - center)^2) on the centers.
template <class T>
UMA_INLINE inline void gaussians(T distance, T coefficient, const T *UMA_RESTRICT centers,
                                 int count, T *UMA_RESTRICT values)
{
  UMA_CHANNELS(c, count)
  {
    const T apart = distance - centers[c];
    values[c] = exponential(coefficient * apart * apart);
  }
}

// Gradient with respect to the distance, from that with respect to the Gaussians.
template <class T>
UMA_INLINE inline T gaussians_reverse(T distance, T coefficient, const T *UMA_RESTRICT centers,
                                      int count, const T *UMA_RESTRICT values,
                                      const T *UMA_RESTRICT g)
{
  T sum = 0;
  UMA_CHANNELS_SUM(c, count, sum)
  {
    sum += g[c] * values[c] * (distance - centers[c]);
  }
  return T(2) * coefficient * sum_over_channels(sum);
}

// silu(weight normalized + bias) of one row, normalized = (x - mean) / deviation. Replaces x by the
// normalized row and returns 1 / deviation, which the reverse takes.
template <class T, class Width>
UMA_INLINE inline T norm_silu(T *UMA_RESTRICT x, Width width, const T *UMA_RESTRICT weight,
                              const T *UMA_RESTRICT bias, T epsilon, T *UMA_RESTRICT out)
{
  T sum = 0, squares = 0;
  UMA_CHANNELS_SUM(c, width, sum)
  {
    sum += x[c];
  }
  const T mean = sum_over_channels(sum) / T(width);
  UMA_CHANNELS_SUM(c, width, squares)
  {
    squares += (x[c] - mean) * (x[c] - mean);
  }
  const T scale = T(1) / root(sum_over_channels(squares) / T(width) + epsilon);
  UMA_CHANNELS(c, width)
  {
    x[c] = (x[c] - mean) * scale;
    const T u = weight[c] * x[c] + bias[c];
    out[c] = u * sigmoid(u);
  }
  return scale;
}

// Reverse of 'norm_silu': replaces the gradient g with respect to its value by that with respect to
// the row that was given to it.
template <class T, class Width>
UMA_INLINE inline void norm_silu_reverse(const T *UMA_RESTRICT normalized, T scale, Width width,
                                         const T *UMA_RESTRICT weight, const T *UMA_RESTRICT bias,
                                         T *UMA_RESTRICT g)
{
  T sum = 0, product = 0;
  UMA_CHANNELS_SUM(c, width, sum, product)
  {
    const T u = weight[c] * normalized[c] + bias[c];
    const T s = sigmoid(u);
    g[c] *= weight[c] * s * (T(1) + u * (T(1) - s));
    sum += g[c];
    product += g[c] * normalized[c];
  }
  const T mean = sum_over_channels(sum) / T(width);
  const T along = sum_over_channels(product) / T(width);
  UMA_CHANNELS(c, width)
  {
    g[c] = scale * (g[c] - mean - normalized[c] * along);
  }
}

}    // namespace uma::kernels

#endif
