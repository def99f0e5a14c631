// SPDX-License-Identifier: MIT
// The element-wise parts of what nodes do with their features alone, for one node; see
// uma_md/nn/norm.py, gate.py and layer.py.
//
// A node's features are rows of channels, one for each coefficient; a stride leads from one
// coefficient to the next.

#ifndef UMA_KERNELS_NODE_H
#define UMA_KERNELS_NODE_H

#include "portable.h"
#include "sizes.h"

namespace uma::kernels {

// A node's features, or the sum of two.
template <class T> struct Features {
  const T *x, *m;    // m may be null
  int channels;

  UMA_INLINE T operator()(int k, int c) const
  {
    const int at = k * channels + c;
    return m ? x[at] + m[at] : x[at];
  }
};

// What a norm is made of: the mean of the scalars, and 1 / root mean square.
template <class T> struct Spread {
  T mean, scale;
};

// Share of a degree's coefficients in the mean square.
template <class T> UMA_INLINE inline T share(int l, int lmax, int channels)
{
  return T(1) / (T(2 * l + 1) * T(lmax + 1) * T(channels));
}

template <class T, class Degree>
UMA_INLINE inline Spread<T> spread(Degree lmax, int channels, const Features<T> &x, T epsilon)
{
  T sum = 0;
  UMA_CHANNELS_SUM(c, channels, sum)
  {
    sum += x(0, c);
  }
  const T mean = sum_over_channels(sum) / T(channels);
  T squares = 0;
  for (int l = 0; l <= lmax; l++) {
    T square = 0;
    for (int k = l * l; k < (l + 1) * (l + 1); k++) {
      UMA_CHANNELS_SUM(c, channels, square)
      {
        const T centered = k == 0 ? x(k, c) - mean : x(k, c);
        square += centered * centered;
      }
    }
    squares += share<T>(l, lmax, channels) * square;
  }
  return {mean, T(1) / root(sum_over_channels(squares) + epsilon)};
}

// The first 'coefficients' rows of the normalized features.
template <class T, class Degree>
UMA_INLINE inline void norm(Degree lmax, int channels, const Features<T> &x,
                            const T *UMA_RESTRICT weight, const T *UMA_RESTRICT bias, T epsilon,
                            int coefficients, T *UMA_RESTRICT out, int64 stride)
{
  const Spread<T> found = spread(lmax, channels, x, epsilon);
  for (int l = 0; l <= lmax; l++) {
    for (int k = l * l; k < (l + 1) * (l + 1) && k < coefficients; k++) {
      const T mean = k == 0 ? found.mean : T(0);
      UMA_CHANNELS(c, channels)
      {
        const T value = (x(k, c) - mean) * found.scale * weight[l * channels + c];
        out[k * stride + c] = k == 0 ? value + bias[c] : value;
      }
    }
  }
}

// Reverse of 'norm': sets the gradient with respect to x, from that with respect to the rows, of
// which scalars may have more in 'g_scalars', and adds 'more', which may be null.
template <class T, class Degree>
UMA_INLINE inline void
norm_reverse(Degree lmax, int channels, const Features<T> &x, const T *UMA_RESTRICT weight,
             T epsilon, int coefficients, const T *UMA_RESTRICT g, int64 stride,
             const T *UMA_RESTRICT g_scalars, const T *UMA_RESTRICT more, T *UMA_RESTRICT g_x)
{
  const Spread<T> found = spread(lmax, channels, x, epsilon);
  T along = 0, scalars = 0;
  for (int l = 0; l <= lmax; l++) {
    for (int k = l * l; k < (l + 1) * (l + 1) && k < coefficients; k++) {
      UMA_CHANNELS_SUM(c, channels, along, scalars)
      {
        const T extra = k == 0 && g_scalars ? g_scalars[c] : T(0);
        const T weighted = (g[k * stride + c] + extra) * weight[l * channels + c];
        along += weighted * (k == 0 ? x(k, c) - found.mean : x(k, c));
        if (k == 0) scalars += weighted;
      }
    }
  }
  // The mean over channels of centered scalars is zero, so that only 'scalars' shifts.
  along = sum_over_channels(along) * found.scale * found.scale;
  const T shift = sum_over_channels(scalars) / T(channels);
  for (int l = 0; l <= lmax; l++) {
    const T slope = along * share<T>(l, lmax, channels);
    for (int k = l * l; k < (l + 1) * (l + 1); k++) {
      UMA_CHANNELS(c, channels)
      {
        T weighted = 0;
        if (k < coefficients) weighted = g[k * stride + c];
        if (k == 0 && g_scalars) weighted += g_scalars[c];
        weighted *= weight[l * channels + c];
        const T centered = k == 0 ? x(k, c) - found.mean : x(k, c);
        if (k == 0) weighted -= shift;
        const T value = found.scale * (weighted - centered * slope);
        const int at = k * channels + c;
        g_x[at] = more ? more[at] + value : value;
      }
    }
  }
}

// The gate of a node: v_0 = silu(u_0), v_m = u_m sigmoid(silu(gate)) for the degrees above.
template <class T, class Degree>
UMA_INLINE inline void node_gate(Degree lmax, int channels, const T *UMA_RESTRICT gates,
                                 const T *UMA_RESTRICT u, T *UMA_RESTRICT v, int64 stride)
{
  UMA_CHANNELS(c, channels)
  {
    v[c] = u[c] * sigmoid(u[c]);
  }
  for (int l = 1; l <= lmax; l++) {
    UMA_CHANNELS(c, channels)
    {
      const T t = gates[(l - 1) * channels + c];
      const T open = sigmoid(t * sigmoid(t));
      for (int k = l * l; k < (l + 1) * (l + 1); k++) {
        v[k * stride + c] = u[k * stride + c] * open;
      }
    }
  }
}

// Derivative of silu.
template <class T> UMA_INLINE inline T silu_slope(T t)
{
  const T s = sigmoid(t);
  return s * (T(1) + t * (T(1) - s));
}

template <class T, class Degree>
UMA_INLINE inline void node_gate_reverse(Degree lmax, int channels, const T *UMA_RESTRICT gates,
                                         const T *UMA_RESTRICT u, const T *UMA_RESTRICT g_v,
                                         T *UMA_RESTRICT g_gates, T *UMA_RESTRICT g_u, int64 stride)
{
  UMA_CHANNELS(c, channels)
  {
    g_u[c] = g_v[c] * silu_slope(u[c]);
  }
  for (int l = 1; l <= lmax; l++) {
    UMA_CHANNELS(c, channels)
    {
      const T t = gates[(l - 1) * channels + c];
      const T open = sigmoid(t * sigmoid(t));
      T sum = 0;
      for (int k = l * l; k < (l + 1) * (l + 1); k++) {
        sum += g_v[k * stride + c] * u[k * stride + c];
        g_u[k * stride + c] = g_v[k * stride + c] * open;
      }
      g_gates[(l - 1) * channels + c] = sum * open * (T(1) - open) * silu_slope(t);
    }
  }
}

}    // namespace uma::kernels

#endif
