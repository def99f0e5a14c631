// SPDX-License-Identifier: MIT
// Products on a CPU, compiled once for each type and set of instructions; see cpu_kernels.cpp.
//
// A tile of a few rows and one panel of columns stays in registers while the inner dimension runs;
// a panel's part stays in the first cache while all rows pass (Goto and van de Geijn, ACM Trans.
// Math. Softw. 34, 12 (2008)). Weights are packed, features are read where they are.

#include "products.h"

namespace uma::kernels::UMA_INSTRUCTIONS {
namespace {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, ROWS = 12;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32, ROWS = 6;
#else
constexpr int VECTOR_BYTES = 16, ROWS = 4;
#endif
constexpr int INNER_BYTES = 1024;    // of the inner dimension at a time

using Real = UMA_REAL;
typedef Real Vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(Real)), may_alias));

constexpr int LANES = VECTOR_BYTES / int(sizeof(Real)), PANEL = 2 * LANES;

// Adds the product of R rows and the first V vectors of a panel to 'sums'.
template <int R, int V>
inline __attribute__((always_inline)) void tile(int inner, const Real *x, long x_stride,
                                                const Real *panel, Vector (&sums)[R][V])
{
  for (int k = 0; k < inner; k++) {
    Vector b[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) {
      b[v] = *reinterpret_cast<const Vector *>(panel + k * PANEL + v * LANES);
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const Real a = x[r * x_stride + k];
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) sums[r][v] += a * b[v];
    }
  }
}

// What is added to a product: rows, which may be those of its result, or one row for all.
struct Start {
  const Real *rows;
  long stride;
};

// out (R rows, 'columns' of a panel, which are in its first V vectors) = start + x panel
template <int R, int V>
void multiply_tile(int inner, const Real *x, long x_stride, const Real *panel, Start start,
                   Real *out, long out_stride, int columns)
{
  constexpr int WIDTH = V * LANES;
  Vector sums[R][V];
  Real edge[R][WIDTH];
  const bool whole = columns == WIDTH;
  if (!whole) {
    for (int r = 0; r < R; r++) {
      for (int c = 0; c < WIDTH; c++) {
        edge[r][c] = c < columns ? start.rows[r * start.stride + c] : Real(0);
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++) {
    const Real *from = whole ? start.rows + r * start.stride : edge[r];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) sums[r][v] = *reinterpret_cast<const Vector *>(from + v * LANES);
  }
  tile<R, V>(inner, x, x_stride, panel, sums);
#pragma GCC unroll 12
  for (int r = 0; r < R; r++) {
    Real *to = whole ? out + r * out_stride : edge[r];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) *reinterpret_cast<Vector *>(to + v * LANES) = sums[r][v];
  }
  if (whole) return;
  for (int r = 0; r < R; r++) {
    for (int c = 0; c < columns; c++) out[r * out_stride + c] = edge[r][c];
  }
}

// The same for any number of rows up to R.
template <int R>
void multiply_rows(int rows, int inner, const Real *x, long x_stride, const Real *panel,
                   Start start, Real *out, long out_stride, int columns)
{
  if constexpr (R > 0) {
    if (rows < R) {
      multiply_rows<R - 1>(rows, inner, x, x_stride, panel, start, out, out_stride, columns);
    } else if (columns > LANES) {
      multiply_tile<R, 2>(inner, x, x_stride, panel, start, out, out_stride, columns);
    } else {
      multiply_tile<R, 1>(inner, x, x_stride, panel, start, out, out_stride, columns);
    }
  }
}

constexpr Real ZEROS[PANEL] = {};

// out = start + x matrix, without a start where this has no rows.
void add_product(int rows, const Real *x, int x_stride, const PackedMatrix<Real> &matrix,
                 Start start, Real *out, int out_stride)
{
  constexpr int most = INNER_BYTES / int(sizeof(Real));
  for (int first = 0; first < matrix.inner; first += most) {
    const int inner = matrix.inner - first < most ? matrix.inner - first : most;
    for (int column = 0; column < matrix.columns; column += PANEL) {
      const int columns = matrix.columns - column < PANEL ? matrix.columns - column : PANEL;
      const Real *panel = matrix.panels + long(column) * matrix.inner + long(first) * PANEL;
      for (int row = 0; row < rows; row += ROWS) {
        const Real *in = x + long(row) * x_stride + first;
        Real *to = out + long(row) * out_stride + column;
        Start from{ZEROS, 0};
        if (first > 0)
          from = {to, out_stride};
        else if (start.rows)
          from = {start.rows + row * start.stride + column, start.stride};
        multiply_rows<ROWS>(rows - row, inner, in, x_stride, panel, from, to, out_stride, columns);
      }
    }
  }
}

void multiply(int rows, const Real *x, int x_stride, const PackedMatrix<Real> &matrix,
              const Real *bias, Real *out, int out_stride)
{
  add_product(rows, x, x_stride, matrix, {bias, 0}, out, out_stride);
}

void multiply_complex(int rows, const Real *x, int x_stride, const ComplexMatrix<Real> &matrix,
                      Real *sums, Real *out, int out_stride)
{
  const int inner = matrix.sum.inner, columns = matrix.sum.columns;
  const int width = matrix.width_of_sums();
  for (int row = 0; row < rows; row++) {
    const Real *first = x + long(row) * x_stride, *second = first + inner;
    Real *sum = sums + long(row) * width;
    for (int k = 0; k < inner; k++) sum[k] = first[k] + second[k];
  }
  multiply(rows, sums, width, matrix.sum, nullptr, out, out_stride);
  const Start common{out, out_stride};
  add_product(rows, x, x_stride, matrix.onto_second, common, out + columns, out_stride);
  add_product(rows, x + inner, x_stride, matrix.onto_first, common, out, out_stride);
}

}    // namespace

void get(Products<Real> &products)
{
  products = {PANEL, multiply, multiply_complex};
}

}    // namespace uma::kernels::UMA_INSTRUCTIONS
