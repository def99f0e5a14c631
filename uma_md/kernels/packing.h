// SPDX-License-Identifier: MIT
// How a backend takes weights.

#ifndef UMA_KERNELS_PACKING_H
#define UMA_KERNELS_PACKING_H

#include <ATen/core/Tensor.h>

namespace uma::kernels {

struct Packing {
  int panel;             // columns of a panel; 0: no panels
  bool three = false;    // complex products by three real ones
  // The parts that a precision splits a matrix (inner, columns) into, in place of panels; undefined
  // where this does not pay.
  at::Tensor (*split)(const at::Tensor &matrix) = nullptr;
};

}    // namespace uma::kernels

#endif
