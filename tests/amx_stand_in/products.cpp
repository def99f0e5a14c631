// SPDX-License-Identifier: MIT
// The products of split numbers as AMX computes them, for tests where there is none.

#include "bf16_products.cpp"

namespace {

using namespace uma::kernels;

alignas(64) bf16::Part room[bf16::ROOM / sizeof(bf16::Part)];

// Calls a product; gives what was wrong with its use of registers, or null.
template <class Product> const char *watch(int parts, const Product &product)
{
  bf16::Functions found;
  amx::get(found);
  amx_stand_in::error = nullptr;
  product(parts == 2 ? found.of_two : found.of_three);
  if (amx_stand_in::configuration.palette != 0) return "registers are not released";
  return amx_stand_in::error;
}

}    // namespace

extern "C" const char *multiply(int parts, int rows, int inner, int columns, const float *x,
                                int x_stride, const void *weights, const float *bias, float *out,
                                int out_stride)
{
  const PackedMatrix<float> matrix{inner, columns, nullptr, weights};
  return watch(parts, [&](const bf16::SplitProducts &products) {
    products.multiply(room, rows, x, x_stride, matrix, bias, out, out_stride);
  });
}

// inner, columns: of the real and of the imaginary part.
extern "C" const char *multiply_complex(int parts, int rows, int inner, int columns, const float *x,
                                        int x_stride, const void *sum, const void *onto_first,
                                        const void *onto_second, float *out, int out_stride)
{
  const auto matrix = [&](const void *weights) {
    return PackedMatrix<float>{inner, columns, nullptr, weights};
  };
  const ComplexMatrix<float> whole{{}, matrix(sum), matrix(onto_first), matrix(onto_second)};
  return watch(parts, [&](const bf16::SplitProducts &products) {
    products.multiply_complex(room, rows, x, x_stride, whole, out, out_stride);
  });
}
