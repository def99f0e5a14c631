// SPDX-License-Identifier: MIT
// The products of split numbers as AMX computes them, for tests where there is none.

#include "bf16_products.cpp"

namespace {

using namespace uma::kernels;

const Products<float> &products(int parts)
{
  static const bf16::Functions functions = [] {
    bf16::Functions found;
    amx::get(found);
    return found;
  }();
  return parts == 2 ? functions.of_two : functions.of_three;
}

}    // namespace

// Each gives what was wrong with the use of registers, or null.
extern "C" const char *multiply(int parts, int rows, int inner, int columns, const float *x,
                                int x_stride, const void *weights, const float *bias, float *out,
                                int out_stride)
{
  amx_stand_in::error = nullptr;
  const PackedMatrix<float> matrix{inner, columns, nullptr, weights};
  products(parts).multiply(rows, x, x_stride, matrix, bias, out, out_stride);
  return amx_stand_in::error;
}

// inner, columns: of the real and of the imaginary part.
extern "C" const char *multiply_complex(int parts, int rows, int inner, int columns, const float *x,
                                        int x_stride, const void *sum, const void *onto_first,
                                        const void *onto_second, float *out, int out_stride)
{
  amx_stand_in::error = nullptr;
  const auto matrix = [&](const void *weights) {
    return PackedMatrix<float>{inner, columns, nullptr, weights};
  };
  const ComplexMatrix<float> whole{{}, matrix(sum), matrix(onto_first), matrix(onto_second)};
  products(parts).multiply_complex(rows, x, x_stride, whole, nullptr, out, out_stride);
  return amx_stand_in::error;
}
