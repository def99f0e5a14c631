// SPDX-License-Identifier: MIT
// What a thread works in while it has a block of edges.

#ifndef UMA_KERNELS_WORKSPACE_H
#define UMA_KERNELS_WORKSPACE_H

#include "buffer.h"
#include "edge.h"
#include "products.h"

#include <algorithm>
#include <array>
#include <utility>

namespace uma::kernels {

struct Workspace {
  Buffer x, scale, p, q, y, g_y, g_p, g_scale;
  Buffer sums;    // of real and imaginary parts, where complex products go by three
  Buffer first, second, first_out, second_out, first_scales, second_scales, g_basis;

  // Its parts, and how many numbers each has of an edge.
  template <class T> static auto parts(const Constants<T> &constants, bool by_three)
  {
    using W = Workspace;
    const int64_t p = constants.gates + constants.hidden.width, scale = constants.scale.width;
    const int64_t out = constants.out.width, hidden = constants.sizes.edge_channels;
    return std::array<std::pair<Buffer W::*, int64_t>, 16>{{
        {&W::x, constants.ends.width},
        {&W::scale, scale},
        {&W::p, p},
        {&W::q, constants.hidden.width},
        {&W::y, out},
        {&W::g_y, out},
        {&W::g_p, p},
        {&W::g_scale, scale},
        {&W::sums, by_three ? width_of_sums(constants) : 0},
        {&W::first, hidden},
        {&W::second, hidden},
        {&W::first_out, hidden},
        {&W::second_out, hidden},
        {&W::first_scales, 1},
        {&W::second_scales, 1},
        {&W::g_basis, constants.sizes.num_basis},
    }};
  }

 private:
  // Order 1 is the widest one of those whose products go by three.
  template <class T> static int64_t width_of_sums(const Constants<T> &constants)
  {
    if (constants.sizes.mmax == 0) return 0;
    int widest = 0;
    for (const Layout *layout : {&constants.ends, &constants.hidden, &constants.out}) {
      widest = std::max(widest, (layout->start[2] - layout->start[1]) / 2);
    }
    return widest + ComplexMatrix<T>::SUMS_APART;
  }
};

}    // namespace uma::kernels

#endif
