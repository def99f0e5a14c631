// SPDX-License-Identifier: MIT
// Products of features with weights that are packed once.
//
// A row of the result is summed in the same order whatever rows are beside it, so that results do
// not depend on how edges are cut into blocks, nor on the number of threads.

#ifndef UMA_KERNELS_PRODUCTS_H
#define UMA_KERNELS_PRODUCTS_H

namespace uma::kernels {

// A matrix (inner, columns) in panels of a few columns each, the last one filled up with zeros.
// Without panels, for GPUs: column by column, which their libraries multiply fastest.
template <class T> struct PackedMatrix {
  int inner, columns;
  const T *panels;
  // Where the precision splits numbers and this pays, in place of panels: the parts, as the backend
  // arranges them.
  const void *parts = nullptr;
};

// A complex matrix, for rows of real parts x_1 and, after them, imaginary parts x_2. Either it is
// one real matrix, (2 inner, 2 columns), or three, (inner, columns), with a quarter fewer
// operations:
//   out_1 = (x_1 + x_2) sum + x_2 onto_first
//   out_2 = (x_1 + x_2) sum + x_1 onto_second
// For R + i I these are R, -(R + I) and I - R (attributed to Gauss; Knuth, TAOCP 2, 4.6.4).
template <class T> struct ComplexMatrix {
  PackedMatrix<T> whole, sum, onto_first, onto_second;

  int width_of_sums() const { return sum.inner + SUMS_APART; }
  // Rows whose distance is a power of two would compete for the same lines of a cache.
  static constexpr int SUMS_APART = 16;
};

template <class T> struct Products {
  int panel;    // columns of a panel
  // out = x matrix + bias, for rows at given strides; the bias may be null.
  void (*multiply)(int rows, const T *x, int x_stride, const PackedMatrix<T> &matrix, const T *bias,
                   T *out, int out_stride);
  // out = x matrix, by three products; 'sums' is for rows of 'width_of_sums' numbers.
  void (*multiply_complex)(int rows, const T *x, int x_stride, const ComplexMatrix<T> &matrix,
                           T *sums, T *out, int out_stride);
};

}    // namespace uma::kernels

#endif
