// SPDX-License-Identifier: MIT
// Products of features with weights that are packed once.
//
// A row of the result is summed in the same order whatever rows are beside it, so that results do
// not depend on how edges are cut into blocks, nor on the number of threads.

#ifndef UMA_KERNELS_PRODUCTS_H
#define UMA_KERNELS_PRODUCTS_H

namespace uma::kernels {

// How a backend takes weights.
struct Packing {
  int panel;              // columns of a panel; 0: no panels
  bool halves = false;    // two numbers of half precision for each, as well, where these pay
};

// A matrix (inner, columns) in panels of a few columns each, the last one filled up with zeros.
// Without panels, for GPUs: column by column, which their libraries multiply fastest.
template <class T> struct PackedMatrix {
  int inner, columns;
  const T *panels;
  // Where there are any: column by column 'inner' low parts and 'inner' high ones (halves.h).
  const void *halves = nullptr;
};

template <class T> struct Products {
  int panel;    // columns of a panel
  // out = x matrix + bias, for rows at given strides; the bias may be null.
  void (*multiply)(int rows, const T *x, int x_stride, const PackedMatrix<T> &matrix, const T *bias,
                   T *out, int out_stride);
};

}    // namespace uma::kernels

#endif
