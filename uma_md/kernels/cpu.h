// SPDX-License-Identifier: MIT

#ifndef UMA_KERNELS_CPU_H
#define UMA_KERNELS_CPU_H

#include "kernels.h"

namespace uma::kernels {

// By the instructions that this processor has.
template <class T> Kernels<T> &cpu_kernels();

}    // namespace uma::kernels

#endif
