// SPDX-License-Identifier: MIT
// The element-wise kernels of the node stages, as a CPU or a GPU offers them.
//
// Rows by node hold all coefficients of a node; those by coefficient, which products take, hold one
// coefficient of all nodes, and one coefficient after another.

#ifndef UMA_KERNELS_NODE_KERNELS_H
#define UMA_KERNELS_NODE_KERNELS_H

#include "node.h"

namespace uma::kernels {

// Normalized rows of x + m; m may be null.
template <class T> struct NormArguments {
  Sizes sizes;
  int num;
  const T *x, *m;    // by node
  const T *weight, *bias;
  T epsilon;
  int coefficients;    // the first so many come out
  T *out;
  int64 stride, node_stride;    // from one coefficient, and one node, to the next
};

// Gradient with respect to x (and m), plus 'more'.
template <class T> struct NormReverseArguments {
  Sizes sizes;
  int num;
  const T *x, *m;
  const T *weight;
  T epsilon;
  int coefficients;
  const T *g;
  int64 stride, node_stride;
  const T *g_scalars;    // (num, channels), or null
  const T *more;         // by node, or null
  T *g_x;                // by node
};

// u and v by coefficient.
template <class T> struct NodeGateArguments {
  Sizes sizes;
  int num;
  const T *gates, *u;
  T *v;
};

template <class T> struct NodeGateReverseArguments {
  Sizes sizes;
  int num;
  const T *gates, *u, *g_v;
  T *g_gates, *g_u;
};

// From rows by node to rows by coefficient.
template <class T> struct SortArguments {
  Sizes sizes;
  int num;
  const T *rows;
  T *out;
};

// out = x + m + w, all by node but w.
template <class T> struct AddArguments {
  Sizes sizes;
  int num;
  const T *x, *m, *w;
  T *out;
};

// out = silu(t) of rows of hidden channels.
template <class T> struct SiluArguments {
  Sizes sizes;
  int num;
  const T *t;
  T *out;
};

// g_t = g silu'(t); rows of g are 'g_stride' apart.
template <class T> struct SiluReverseArguments {
  Sizes sizes;
  int num;
  const T *t, *g;
  int g_stride;
  T *g_t;
};

template <class T> class NodeKernels {
 public:
  virtual ~NodeKernels() = default;
  virtual void run(const NormArguments<T> &arguments) = 0;
  virtual void run(const NormReverseArguments<T> &arguments) = 0;
  virtual void run(const NodeGateArguments<T> &arguments) = 0;
  virtual void run(const NodeGateReverseArguments<T> &arguments) = 0;
  virtual void run(const SortArguments<T> &arguments) = 0;
  virtual void run(const AddArguments<T> &arguments) = 0;
  virtual void run(const SiluArguments<T> &arguments) = 0;
  virtual void run(const SiluReverseArguments<T> &arguments) = 0;
};

// What each does for one node, on CPUs and GPUs alike. 'shape' has the sizes that loops go over.

template <class T, class Shape>
UMA_INLINE inline void run_node(const NormArguments<T> &a, const Shape &shape, int i)
{
  const int64 start = int64(i) * shape.node_width();
  norm(shape.lmax, shape.channels,
       Features<T>{a.x + start, a.m ? a.m + start : a.m, shape.channels}, a.weight, a.bias,
       a.epsilon, a.coefficients, a.out + i * a.node_stride, a.stride);
}

template <class T, class Shape>
UMA_INLINE inline void run_node(const NormReverseArguments<T> &a, const Shape &shape, int i)
{
  const int64 start = int64(i) * shape.node_width();
  norm_reverse(shape.lmax, shape.channels,
               Features<T>{a.x + start, a.m ? a.m + start : a.m, shape.channels}, a.weight,
               a.epsilon, a.coefficients, a.g + i * a.node_stride, a.stride,
               a.g_scalars ? a.g_scalars + int64(i) * shape.channels : a.g_scalars,
               a.more ? a.more + start : a.more, a.g_x + start);
}

template <class T, class Shape>
UMA_INLINE inline void run_node(const NodeGateArguments<T> &a, const Shape &shape, int i)
{
  const int H = shape.hidden_channels;
  const int64 start = int64(i) * H;
  node_gate(shape.lmax, H, a.gates + start * shape.lmax, a.u + start, a.v + start,
            int64(a.num) * H);
}

template <class T, class Shape>
UMA_INLINE inline void run_node(const NodeGateReverseArguments<T> &a, const Shape &shape, int i)
{
  const int H = shape.hidden_channels;
  const int64 start = int64(i) * H;
  node_gate_reverse(shape.lmax, H, a.gates + start * shape.lmax, a.u + start, a.g_v + start,
                    a.g_gates + start * shape.lmax, a.g_u + start, int64(a.num) * H);
}

template <class T, class Shape>
UMA_INLINE inline void run_node(const SortArguments<T> &a, const Shape &shape, int i)
{
  const int C = shape.channels;
  const T *row = a.rows + int64(i) * shape.node_width();
  for (int k = 0; k < (shape.lmax + 1) * (shape.lmax + 1); k++) {
    T *out = a.out + (int64(k) * a.num + i) * C;
    UMA_CHANNELS(c, C)
    {
      out[c] = row[k * C + c];
    }
  }
}

template <class T, class Shape>
UMA_INLINE inline void run_node(const AddArguments<T> &a, const Shape &shape, int i)
{
  const int C = shape.channels;
  const int64 start = int64(i) * shape.node_width();
  for (int k = 0; k < (shape.lmax + 1) * (shape.lmax + 1); k++) {
    const T *w = a.w + (int64(k) * a.num + i) * C;
    UMA_CHANNELS(c, C)
    {
      a.out[start + k * C + c] = a.x[start + k * C + c] + a.m[start + k * C + c] + w[c];
    }
  }
}

template <class T, class Shape>
UMA_INLINE inline void run_node(const SiluArguments<T> &a, const Shape &shape, int i)
{
  const int H = shape.hidden_channels;
  const T *t = a.t + int64(i) * H;
  T *out = a.out + int64(i) * H;
  UMA_CHANNELS(c, H)
  {
    out[c] = t[c] * sigmoid(t[c]);
  }
}

template <class T, class Shape>
UMA_INLINE inline void run_node(const SiluReverseArguments<T> &a, const Shape &shape, int i)
{
  const int H = shape.hidden_channels;
  const T *t = a.t + int64(i) * H, *g = a.g + int64(i) * a.g_stride;
  T *g_t = a.g_t + int64(i) * H;
  UMA_CHANNELS(c, H)
  {
    g_t[c] = g[c] * silu_slope(t[c]);
  }
}

}    // namespace uma::kernels

#endif
