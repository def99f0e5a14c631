// SPDX-License-Identifier: MIT
// Sizes of a network, and where coefficients of edge features stand in memory.

#ifndef UMA_KERNELS_SIZES_H
#define UMA_KERNELS_SIZES_H

#include "portable.h"

namespace uma::kernels {

using int64 = long long;

constexpr int MOST_COEFFICIENTS = (LARGEST_DEGREE + 1) * (LARGEST_DEGREE + 1);

// Position of the coefficient of degree l and order m = -l..l among all of a node.
constexpr int coefficient(int l, int m)
{
  return l * l + l + m;
}

// Largest order of degree l that is kept in the frames of edges.
constexpr int kept_orders(int l, int mmax)
{
  return l < mmax ? l : mmax;
}

// Largest order of degree l whose row of the rotation is needed: rotating by a small angle mixes
// neighboring orders, so gradients need one more than is kept.
constexpr int needed_orders(int l, int mmax)
{
  return l < mmax + 1 ? l : mmax + 1;
}

// The same of the constants of both.
template <int l, int M> constexpr auto with_next_order(Constant<l>, Constant<M>)
{
  return Constant<needed_orders(l, M)>();
}

constexpr int with_next_order(int l, int kept)
{
  return needed_orders(l, kept);
}

struct Sizes {
  int lmax, mmax;
  int channels, hidden_channels, edge_channels;    // of nodes, of messages, of radial networks
  int num_basis;

  constexpr int coefficients() const { return (lmax + 1) * (lmax + 1); }
  constexpr int node_width() const { return coefficients() * channels; }
};

// The sizes that loops go over: numbers on a CPU, constants on a GPU, where code is compiled for
// each network.
template <class Degree, class Orders, class Channels, class HiddenChannels> struct Shape {
  Degree lmax;
  Orders mmax;
  Channels channels;
  HiddenChannels hidden_channels;

  UMA_INLINE constexpr int node_width() const { return (lmax + 1) * (lmax + 1) * channels; }
};

// Columns of edge features that are sorted by order, as in uma_md/nn/so2.py: for m = 0 all
// degrees, then for each m > 0 the degrees m..lmax with +m (real parts) and with -m (imaginary).
struct Layout {
  int width = 0;
  int column[MOST_COEFFICIENTS] = {};    // by 'coefficient'; first channel
  int start[LARGEST_DEGREE + 2] = {};    // of the orders |m|, and the end

  // One column per |m| instead of two where signs do not matter.
  Layout(int lmax, int mmax, int channels, bool both_signs = true)
  {
    for (int m = 0; m <= mmax; m++) {
      start[m] = m == 0 ? 0 : width;
      const int degrees = lmax + 1 - m;
      for (int l = m; l <= lmax; l++) {
        column[coefficient(l, m)] = width + (l - m) * channels;
        const int after = both_signs && m > 0 ? degrees * channels : 0;
        column[coefficient(l, -m)] = column[coefficient(l, m)] + after;
      }
      width += (both_signs && m > 0 ? 2 : 1) * degrees * channels;
    }
    start[mmax + 1] = width;
  }
};

// Where the rows of an edge's rotation stand: for each degree the rows m = -R..R of 2 l + 1
// entries, R being 'needed_orders'.
struct FrameLayout {
  int size = 0;
  int middle[LARGEST_DEGREE + 1] = {};    // of the row m = 0 of a degree

  FrameLayout(int lmax, int mmax)
  {
    for (int l = 0; l <= lmax; l++) {
      const int rows = needed_orders(l, mmax), row = 2 * l + 1;
      middle[l] = size + rows * row;
      size += (2 * rows + 1) * row;
    }
  }
};

}    // namespace uma::kernels

#endif
