// SPDX-License-Identifier: MIT
// Numbers of float32 as sums of two or three of bfloat16, and how their products are arranged.
//
// x = x_1 + x_2 (+ x_3), each part the rounded rest of those before it, so that two parts have 16
// bits of x and three all 24. A product of two numbers takes the pairs of parts that matter:
//   bf16x3:  x_1 w_1 + x_1 w_2 + x_2 w_1
//   bf16x6:  these, x_2 w_2, x_1 w_3 and x_3 w_1
// with sums in float32. The range is that of float32, down to where parts are no longer normal
// numbers, which count as zero: below 1e-33 two parts lose bits, below 1e-30 three do. What is not
// finite gives NaN.
//
// Parts are in tiles of 16 rows of 32 numbers, as AMX's registers take them:
//   of features, [16 rows][32 inner];
//   of weights, [16 pairs of inner][16 columns][2].
// A panel of weights has PANEL columns; its tiles are ordered by [inner][part][16 columns].

#ifndef UMA_KERNELS_BF16_H
#define UMA_KERNELS_BF16_H

#include "products.h"

#include <cstdint>

namespace uma::kernels::bf16 {

constexpr int TILE = 16, INNER = 32, PANEL = 2 * TILE;
constexpr int TILE_NUMBERS = TILE * INNER;

using Part = uint16_t;    // the upper half of a float32

// Features are split a piece at a time: so many rows, and of the inner dimension what a panel of
// weights fills the first cache with.
constexpr int MOST_ROWS = 512, PANEL_BYTES = 32 << 10;
constexpr int most_tiles(int parts)
{
  return PANEL_BYTES / (parts * PANEL * INNER * int(sizeof(Part)));
}
constexpr int64_t ROOM = int64_t(MOST_ROWS) * (PANEL_BYTES / PANEL);    // bytes of a piece

// As 'Products', of features with weights whose parts stand in 'PackedMatrix::parts'; each thread
// has a room of its own.
struct SplitProducts {
  void (*multiply)(Part *room, int rows, const float *x, int x_stride,
                   const PackedMatrix<float> &matrix, const float *bias, float *out,
                   int out_stride);
  void (*multiply_complex)(Part *room, int rows, const float *x, int x_stride,
                           const ComplexMatrix<float> &matrix, float *out, int out_stride);
};

struct Functions {
  SplitProducts of_two, of_three;    // parts
};

// Smaller products gain nothing.
constexpr bool pays(int64_t inner, int64_t columns)
{
  return inner >= 2 * INNER && columns >= TILE;
}

}    // namespace uma::kernels::bf16

#endif
