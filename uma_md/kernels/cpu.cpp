// SPDX-License-Identifier: MIT

#include "cpu.h"

#include "products.h"

namespace uma::kernels {

// cpu_kernels.cpp and cpu_products.cpp, compiled for each set of instructions.
namespace any {
void get(Kernels<float> *&kernels);
void get(Kernels<double> *&kernels);
void get(Products<float> &products);
void get(Products<double> &products);
}    // namespace any
namespace avx2 {
void get(Kernels<float> *&kernels);
void get(Kernels<double> *&kernels);
void get(Products<float> &products);
void get(Products<double> &products);
}    // namespace avx2
namespace avx512 {
void get(Products<float> &products);
void get(Products<double> &products);
}    // namespace avx512

template <class T> Kernels<T> &cpu_kernels()
{
  Kernels<T> *kernels = nullptr;
#ifdef UMA_X86
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    avx2::get(kernels);
    return *kernels;
  }
#endif
  any::get(kernels);
  return *kernels;
}

template <class T> Products<T> cpu_products()
{
  Products<T> products{};
#ifdef UMA_X86
  if (__builtin_cpu_supports("avx512f")) {
    avx512::get(products);
    return products;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    avx2::get(products);
    return products;
  }
#endif
  any::get(products);
  return products;
}

template Kernels<float> &cpu_kernels<float>();
template Kernels<double> &cpu_kernels<double>();
template Products<float> cpu_products<float>();
template Products<double> cpu_products<double>();

}    // namespace uma::kernels
