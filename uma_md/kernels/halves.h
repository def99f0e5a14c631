// SPDX-License-Identifier: MIT
// A number of float32 as two of half precision: x = high + low / HALVES_SCALE, to 22 bits. Products
// of such numbers with float32 sums are about as precise as those of float32, and faster on GPUs.
//
// Beyond the largest half, 65504, the high part is infinite and the low part is infinite with the
// other sign, so that a product with any number is NaN. Below 3e-11 both are zero.

#ifndef UMA_KERNELS_HALVES_H
#define UMA_KERNELS_HALVES_H

namespace uma::kernels {

constexpr float HALVES_SCALE = 2048;
constexpr double LARGEST_HALF = 65504;

// Up to so many columns of a factor, halves gain nothing. They are written in pairs, so that there
// must be an even number of columns.
constexpr int LARGEST_WHOLE = 128;

constexpr bool takes_halves(int inner)
{
  return inner > LARGEST_WHOLE && inner % 2 == 0;
}

}    // namespace uma::kernels

#endif
