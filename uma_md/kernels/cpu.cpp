// SPDX-License-Identifier: MIT

#include "cpu.h"

namespace uma::kernels {

// cpu_kernels.cpp, compiled for each set of instructions.
namespace any {
void get(Kernels<float> *&kernels);
void get(Kernels<double> *&kernels);
}    // namespace any
namespace avx2 {
void get(Kernels<float> *&kernels);
void get(Kernels<double> *&kernels);
}    // namespace avx2

template <class T> Kernels<T> &cpu_kernels()
{
  Kernels<T> *kernels = nullptr;
#ifdef UMA_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    avx2::get(kernels);
    return *kernels;
  }
#endif
  any::get(kernels);
  return *kernels;
}

template Kernels<float> &cpu_kernels<float>();
template Kernels<double> &cpu_kernels<double>();

}    // namespace uma::kernels
