// SPDX-License-Identifier: MIT
// Products of split numbers (bf16.h) on a CPU, compiled for AMX and for AVX-512 with bfloat16.
//
// Features are split a piece of the inner dimension at a time, which then stays in the second cache
// while all panels of weights pass.

#include "bf16.h"

#if defined(UMA_TILE_STAND_IN)
#include UMA_TILE_STAND_IN
#else
#include <immintrin.h>
#endif

namespace uma::kernels::UMA_INSTRUCTIONS {
namespace {

using bf16::INNER, bf16::MOST_ROWS, bf16::PANEL, bf16::Part, bf16::TILE, bf16::TILE_NUMBERS;

// Which parts of features and weights are multiplied, the largest last where three are; one of the
// two stays from one pair to the next.
template <int PARTS> struct Pairs;
template <> struct Pairs<2> {
  static constexpr int COUNT = 3, OF[COUNT][2] = {{0, 1}, {0, 0}, {1, 0}};
};
template <> struct Pairs<3> {
  static constexpr int COUNT = 6, OF[COUNT][2] = {{0, 2}, {0, 1}, {1, 1}, {1, 0}, {2, 0}, {0, 0}};
};

// Rows of numbers, at a stride.
struct Rows {
  const float *first;
  long stride;
};

// Sums (STEP, PANEL) of the products of some rows with one panel of columns, over so many tiles of
// the inner dimension. 'next' is how far the tiles of the next 16 rows are.
#if defined(UMA_AMX)

constexpr int STEP = 2 * TILE;    // rows
constexpr long ROW_BYTES = INNER * sizeof(Part), SUMS_BYTES = PANEL * sizeof(float);

// The layout is that of LDTILECFG: all eight registers have 16 rows of 64 bytes.
struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Configuration) == 64);
constexpr Configuration CONFIGURATION;

// Others may have used the registers of a thread in between.
void begin()
{
  _tile_loadconfig(&CONFIGURATION);
}

void end()
{
  _tile_release();
}

// Sums are in registers 0 to 3, features in 4 and 5, weights in 6 and 7. g++ up to 12.2 has macros
// for loads and stores that take an expression such as 'p + 1' apart: pointers have names
// therefore.
template <int PARTS>
void multiply_step(int tiles, const Part *features, long next, const Part *weights, float *sums)
{
  using P = Pairs<PARTS>;
  // Compilers do not know that tiles are read from memory.
  __asm__ volatile("" ::: "memory");
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int t = 0; t < tiles; t++) {
#pragma GCC unroll 6
    for (int i = 0; i < P::COUNT; i++) {
      const auto [feature, weight] = P::OF[i];
      if (i == 0 || feature != P::OF[i - 1][0]) {
        const Part *upper = features + (t * PARTS + feature) * TILE_NUMBERS, *lower = upper + next;
        _tile_loadd(4, upper, ROW_BYTES);
        _tile_loadd(5, lower, ROW_BYTES);
      }
      if (i == 0 || weight != P::OF[i - 1][1]) {
        const Part *left = weights + (t * PARTS + weight) * 2 * TILE_NUMBERS;
        const Part *right = left + TILE_NUMBERS;
        _tile_loadd(6, left, ROW_BYTES);
        _tile_loadd(7, right, ROW_BYTES);
      }
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  float *right = sums + TILE, *lower = sums + TILE * PANEL, *last = lower + TILE;
  _tile_stored(0, sums, SUMS_BYTES);
  _tile_stored(1, right, SUMS_BYTES);
  _tile_stored(2, lower, SUMS_BYTES);
  _tile_stored(3, last, SUMS_BYTES);
}

#else

constexpr int STEP = TILE / 2;    // rows

void begin() {}
void end() {}

template <int PARTS>
void multiply_step(int tiles, const Part *features, long, const Part *weights, float *sums)
{
  __m512 rows[STEP][2] = {};
  for (int t = 0; t < tiles; t++) {
    for (const auto &[i, j] : Pairs<PARTS>::OF) {
      const Part *f = features + (t * PARTS + i) * TILE_NUMBERS;
      const Part *w = weights + (t * PARTS + j) * 2 * TILE_NUMBERS;
      for (int k = 0; k < INNER; k += 2) {
        const auto first = __m512bh(_mm512_loadu_si512(w + k * TILE));
        const auto second = __m512bh(_mm512_loadu_si512(w + k * TILE + TILE_NUMBERS));
#pragma GCC unroll 8
        for (int r = 0; r < STEP; r++) {
          int pair;
          __builtin_memcpy(&pair, f + r * INNER + k, sizeof(pair));
          const auto both = __m512bh(_mm512_set1_epi32(pair));
          rows[r][0] = _mm512_dpbf16_ps(rows[r][0], both, first);
          rows[r][1] = _mm512_dpbf16_ps(rows[r][1], both, second);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < STEP; r++) {
    _mm512_storeu_ps(sums + r * PANEL, rows[r][0]);
    _mm512_storeu_ps(sums + r * PANEL + TILE, rows[r][1]);
  }
}

#endif

// out = start + sums
inline __attribute__((always_inline)) void add(int columns, const float *start, const float *sums,
                                               float *out)
{
#pragma omp simd
  for (int c = 0; c < columns; c++) out[c] = start[c] + sums[c];
}

// Vectors of a row of a tile's pairs.
typedef float Floats __attribute__((vector_size(4 * TILE), aligned(4), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * TILE), aligned(4), may_alias));
typedef Part Parts __attribute__((vector_size(2 * TILE), aligned(2), may_alias));

// The parts of TILE numbers.
template <int PARTS>
inline __attribute__((always_inline)) void split_numbers(Floats rest, Part *parts)
{
#pragma GCC unroll 3
  for (int p = 0; p < PARTS; p++) {
    Bits bits = (Bits) rest;
    bits += 0x7fff + (bits >> 16 & 1);             // to nearest, even
    bits |= (Bits) (rest != rest) & 0x7fc00000;    // where that made another number of NaN
    *reinterpret_cast<Parts *>(parts + p * TILE_NUMBERS) =
        __builtin_convertvector(bits >> 16, Parts);
    rest -= (Floats) (bits & 0xffff0000);
  }
}

// Splits rows of 'inner' numbers x, with those of y added where there are any, into tiles that are
// ordered by [16 rows][inner][part] and filled up with zeros.
template <int PARTS>
void split(int rows, int inner, const float *x, const float *y, long stride, Part *parts)
{
  const int tiles = (inner + INNER - 1) / INNER;
  for (int r = 0; r < rows; r++, x += stride) {
    Part *to = parts + long(r / TILE) * tiles * PARTS * TILE_NUMBERS + r % TILE * INNER;
    for (int k = 0; k < tiles * INNER; k += TILE) {
      Floats numbers = {};
      if (inner - k >= TILE) {
        numbers = *reinterpret_cast<const Floats *>(x + k);
        if (y) numbers += *reinterpret_cast<const Floats *>(y + k);
      } else {
        for (int i = 0; i < inner - k; i++) numbers[i] = y ? x[k + i] + y[k + i] : x[k + i];
      }
      split_numbers<PARTS>(numbers, to + k / INNER * PARTS * TILE_NUMBERS + k % INNER);
    }
    if (y) y += stride;
  }
}

template <int PARTS> class Split {
 public:
  static void multiply(Part *room, int rows, const float *x, int x_stride,
                       const PackedMatrix<float> &matrix, const float *bias, float *out,
                       int out_stride)
  {
    begin();
    add_product(room, rows, x, nullptr, x_stride, matrix, {bias, 0}, out, out_stride);
    end();
  }

  static void multiply_complex(Part *room, int rows, const float *x, int x_stride,
                               const ComplexMatrix<float> &matrix, float *out, int out_stride)
  {
    const int columns = matrix.sum.columns;
    const float *second = x + matrix.sum.inner;
    const Rows common{out, out_stride};
    begin();
    add_product(room, rows, x, second, x_stride, matrix.sum, {nullptr, 0}, out, out_stride);
    add_product(room, rows, x, nullptr, x_stride, matrix.onto_second, common, out + columns,
                out_stride);
    add_product(room, rows, second, nullptr, x_stride, matrix.onto_first, common, out, out_stride);
    end();
  }

 private:
  static constexpr int TILES = bf16::most_tiles(PARTS);
  static_assert(MOST_ROWS * TILES * INNER * PARTS * sizeof(Part) <= bf16::ROOM);

  // out = start + (x + y) matrix, without a start where this has no rows, or y where there is none.
  static void add_product(Part *parts, int rows, const float *x, const float *y, long x_stride,
                          const PackedMatrix<float> &matrix, Rows start, float *out,
                          long out_stride)
  {
    const int all = (matrix.inner + INNER - 1) / INNER;
    for (int row = 0; row < rows; row += MOST_ROWS) {
      const int count = rows - row < MOST_ROWS ? rows - row : MOST_ROWS;
      float *to = out + row * out_stride;
      for (int tile = 0; tile < all; tile += TILES) {
        const int tiles = all - tile < TILES ? all - tile : TILES, first = tile * INNER;
        const int inner =
            matrix.inner - first < tiles * INNER ? matrix.inner - first : tiles * INNER;
        const long at = row * x_stride + first;
        split<PARTS>(count, inner, x + at, y ? y + at : nullptr, x_stride, parts);
        Rows from{to, out_stride};
        if (tile == 0)
          from = {start.first ? start.first + row * start.stride : nullptr, start.stride};
        multiply_parts(count, tiles, parts, matrix, tile, from, to, out_stride);
      }
    }
  }

  // The product of rows that are split with the weights of tiles from 'first' on.
  static void multiply_parts(int rows, int tiles, const Part *parts,
                             const PackedMatrix<float> &matrix, int first, Rows start, float *out,
                             long stride)
  {
    const auto *weights = static_cast<const Part *>(matrix.parts);
    const long next = long(tiles) * PARTS * TILE_NUMBERS;
    const long panel = long((matrix.inner + INNER - 1) / INNER) * PARTS * 2 * TILE_NUMBERS;
    weights += long(first) * PARTS * 2 * TILE_NUMBERS;
    for (int c = 0; c < matrix.columns; c += PANEL, weights += panel) {
      const int columns = matrix.columns - c < PANEL ? matrix.columns - c : PANEL;
      for (int r = 0; r < rows; r += STEP) {
        const Part *features = parts + r / TILE * next + r % TILE * INNER;
        alignas(64) float sums[STEP * PANEL];
        multiply_step<PARTS>(tiles, features, next, weights, sums);
        const int end = rows - r < STEP ? rows : r + STEP;
        for (int row = r; row < end; row++) {
          const float *from = start.first ? start.first + row * start.stride + c : ZEROS;
          const float *sum = sums + (row - r) * PANEL;
          float *to = out + row * stride + c;
          if (columns == PANEL)
            add(PANEL, from, sum, to);
          else
            add(columns, from, sum, to);
        }
      }
    }
  }

  static constexpr float ZEROS[PANEL] = {};
};

}    // namespace

void get(bf16::Functions &functions)
{
  functions = {{Split<2>::multiply, Split<2>::multiply_complex},
               {Split<3>::multiply, Split<3>::multiply_complex}};
}

}    // namespace uma::kernels::UMA_INSTRUCTIONS
