// SPDX-License-Identifier: MIT
// Radial networks and convolutions of a block of edges, each with its reverse beside it.

#ifndef UMA_KERNELS_BLOCK_MAPS_H
#define UMA_KERNELS_BLOCK_MAPS_H

#include "backend.h"
#include "network.h"
#include "workspace.h"

namespace uma::kernels {

// What a radial network gives, and what its reverse takes.
template <class T> struct RadialRows {
  T *first, *second;                  // hidden layers, normalized
  T *first_scales, *second_scales;    // what normalized them
  T *out;
};

template <class T> class BlockMaps {
 public:
  BlockMaps(const Network<T> &network, const Constants<T> &constants, Backend<T> &backend) :
      network_(network),
      constants_(constants),
      backend_(backend)
  {
  }

  // The radial network of a block's edges.
  void radial(const RadialNetwork<T> &net, const Block<T> &b, Workspace &w, const RadialRows<T> &r)
  {
    const int64_t hidden = network_.sizes.edge_channels, rows = b.num_edges;
    apply(net.first, rows, b.edges.basis, network_.sizes.num_basis, r.first, hidden);
    backend_.kernels().hidden(first_hidden(net), b, constants_.epsilon, r.first, r.first_scales,
                              w.first_out.rows<T>());
    apply(net.second, rows, w.first_out.rows<T>(), hidden, r.second, hidden);
    backend_.kernels().hidden(second_hidden(net), b, constants_.epsilon, r.second, r.second_scales,
                              w.second_out.rows<T>());
    apply(net.third, rows, w.second_out.rows<T>(), hidden, r.out, net.third.out);
  }

  // Adds to the edges' slopes what comes through the radial network, from the gradient of its
  // value.
  void reverse_radial(const RadialNetwork<T> &net, const Block<T> &b, Workspace &w,
                      const RadialRows<T> &r, const T *g)
  {
    const int64_t hidden = network_.sizes.edge_channels, rows = b.num_edges;
    T *g_second = w.second_out.rows<T>(), *g_first = w.first_out.rows<T>();
    apply_reverse(net.third, rows, g, net.third.out, g_second, hidden);
    backend_.kernels().hidden_reverse(second_hidden(net), int(rows), r.second, r.second_scales,
                                      g_second);
    apply_reverse(net.second, rows, g_second, hidden, g_first, hidden);
    backend_.kernels().hidden_reverse(first_hidden(net), int(rows), r.first, r.first_scales,
                                      g_first);
    apply_reverse(net.first, rows, g_first, hidden, w.g_basis.rows<T>(), network_.sizes.num_basis);
    backend_.kernels().basis_reverse(constants_, network_.centers.template data_ptr<T>(), int(rows),
                                     b.edges, w.g_basis.rows<T>());
  }

  // Applies the map of each order to its columns; some have gates in front, of order 0.
  void convolve(const Convolution<T> &convolution, int64_t rows, const T *x, const Layout &x_layout,
                T *out, const Layout &out_layout, int64_t out_gates, const Workspace &w) const
  {
    const int64_t width = out_layout.width + out_gates;
    apply(convolution.zero, rows, x, x_layout.width, out, width);
    for (int m = 1; m <= network_.sizes.mmax; m++) {
      backend_.multiply(int(rows), x + x_layout.start[m], x_layout.width,
                        convolution.others[m - 1].forward(), w.sums.rows<T>(),
                        out + out_gates + out_layout.start[m], int(width));
    }
  }

  void convolve_reverse(const Convolution<T> &convolution, int64_t rows, const T *g,
                        const Layout &g_layout, int64_t g_gates, T *out, const Layout &out_layout,
                        const Workspace &w) const
  {
    const int64_t width = g_layout.width + g_gates;
    apply_reverse(convolution.zero, rows, g, width, out, out_layout.width);
    for (int m = 1; m <= network_.sizes.mmax; m++) {
      backend_.multiply(int(rows), g + g_gates + g_layout.start[m], int(width),
                        convolution.others[m - 1].reverse(), w.sums.rows<T>(),
                        out + out_layout.start[m], out_layout.width);
    }
  }

 private:
  // out = x map, for rows of these strides.
  void apply(const Map<T> &map, int64_t rows, const T *x, int64_t x_stride, T *out,
             int64_t out_stride) const
  {
    backend_.multiply(int(rows), x, int(x_stride), map.forward(), map.bias(), out, int(out_stride));
  }

  // The same for the gradients, from those of the map's value.
  void apply_reverse(const Map<T> &map, int64_t rows, const T *g, int64_t g_stride, T *out,
                     int64_t out_stride) const
  {
    backend_.multiply(int(rows), g, int(g_stride), map.reverse(), nullptr, out, int(out_stride));
  }

  HiddenLayer<T> first_hidden(const RadialNetwork<T> &net) const
  {
    return {network_.sizes.edge_channels, net.sender_table.template data_ptr<T>(),
            net.receiver_table.template data_ptr<T>(), net.first_norm.weight.template data_ptr<T>(),
            net.first_norm.bias.template data_ptr<T>()};
  }

  HiddenLayer<T> second_hidden(const RadialNetwork<T> &net) const
  {
    return {network_.sizes.edge_channels, nullptr, nullptr,
            net.second_norm.weight.template data_ptr<T>(),
            net.second_norm.bias.template data_ptr<T>()};
  }

  const Network<T> &network_;
  const Constants<T> &constants_;
  Backend<T> &backend_;
};

}    // namespace uma::kernels

#endif
