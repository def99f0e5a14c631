// SPDX-License-Identifier: MIT
// What lets one source serve CPUs and GPUs. Element-wise kernels are written for one edge or one
// atom; their loops over channels are vector instructions on a CPU and the threads of a group on a
// GPU. Nothing here, and in the headers that include it, comes from a standard library: GPUs have
// none.

#ifndef UMA_KERNELS_PORTABLE_H
#define UMA_KERNELS_PORTABLE_H

#ifdef UMA_GPU

#define UMA_INLINE __attribute__((always_inline))
#define UMA_RESTRICT __restrict__
// The threads of a group, UMA_GROUP of a warp, share an edge; each takes every so-many-th channel.
#define UMA_CHANNELS(c, count) for (int c = threadIdx.x; c < (count); c += UMA_GROUP)
#define UMA_CHANNELS_SUM(c, count, ...) UMA_CHANNELS(c, count)

#else

#define UMA_INLINE __attribute__((always_inline))
#define UMA_RESTRICT __restrict__
#define UMA_PRAGMA(text) _Pragma(#text)
#define UMA_CHANNELS(c, count) UMA_PRAGMA(omp simd) for (int c = 0; c < (count); c++)
// The variables named last are sums over channels.
#define UMA_CHANNELS_SUM(c, count, ...)                                                            \
  UMA_PRAGMA(omp simd reduction(+ : __VA_ARGS__)) for (int c = 0; c < (count); c++)

#endif

namespace uma::kernels {

// An integer that is known when the code is compiled.
template <int N> struct Constant {
  static constexpr int value = N;
  UMA_INLINE constexpr operator int() const { return N; }
};

template <int First, int Last, class Function>
UMA_INLINE inline void unroll(const Function &function)
{
  if constexpr (First <= Last) {
    function(First);
    unroll<First + 1, Last>(function);
  }
}

// Calls a function with first..last; unrolled where 'Count' is a constant: -Count..Count.
template <int N, class Function>
UMA_INLINE inline void for_orders(Constant<N>, const Function &function)
{
  unroll<-N, N>(function);
}

template <class Function> UMA_INLINE inline void for_orders(int count, const Function &function)
{
  for (int m = -count; m <= count; m++) function(m);
}

// The same for 0..2 count.
template <int N, class Function>
UMA_INLINE inline void for_rows(Constant<N>, const Function &function)
{
  unroll<0, 2 * N>(function);
}

template <class Function> UMA_INLINE inline void for_rows(int count, const Function &function)
{
  for (int k = 0; k <= 2 * count; k++) function(k);
}

constexpr int LARGEST_DEGREE = 6;

// The numbers of a degree or of orders as an array holds them.
template <class Count> constexpr int capacity = 2 * LARGEST_DEGREE + 1;
template <int N> constexpr int capacity<Constant<N>> = 2 * N + 1;

// 'sum_over_channels' sums over all threads that share an edge, of the parts that UMA_CHANNELS_SUM
// leaves to each.

#ifdef UMA_GPU

// In the same order on every GPU, and the same for all threads of the group.
template <class T> UMA_INLINE inline T sum_over_channels(T part)
{
  const unsigned first = (threadIdx.x + blockDim.x * threadIdx.y) % 32 / UMA_GROUP * UMA_GROUP;
  const unsigned lanes = UMA_GROUP == 32 ? ~0u : ((1u << UMA_GROUP % 32) - 1) << first;
  for (int apart = UMA_GROUP / 2; apart > 0; apart /= 2) {
    part += __shfl_xor_sync(lanes, part, apart);
  }
  return part;
}

UMA_INLINE inline float exponential(float x)
{
  return expf(x);
}

UMA_INLINE inline double exponential(double x)
{
  return exp(x);
}

UMA_INLINE inline float root(float x)
{
  return sqrtf(x);
}

UMA_INLINE inline double root(double x)
{
  return sqrt(x);
}

#else

template <class T> UMA_INLINE inline T sum_over_channels(T part)
{
  return part;
}

// exp(x) = 2^n exp(r) with |r| <= log(2) / 2 and a Taylor series. Adding 1.5 * 2^(mantissa bits)
// rounds to the integer n and leaves it in the lowest bits. Compilers turn this into vector
// instructions, which they do not with the standard library's function.
UMA_INLINE inline float exponential(float x)
{
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const unsigned power = __builtin_bit_cast(unsigned, shifted) << 23;
  return __builtin_bit_cast(float, __builtin_bit_cast(unsigned, series) + power);
}

UMA_INLINE inline double exponential(double x)
{
  x = x < -708.0 ? -708.0 : x;
  x = x > 709.0 ? 709.0 : x;
  const double shifted = x * 1.4426950408889634 + 6755399441055744.0;
  const double n = shifted - 6755399441055744.0;
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double series = 1.0 / 6227020800;
  series = series * r + 1.0 / 479001600;
  series = series * r + 1.0 / 39916800;
  series = series * r + 1.0 / 3628800;
  series = series * r + 1.0 / 362880;
  series = series * r + 1.0 / 40320;
  series = series * r + 1.0 / 5040;
  series = series * r + 1.0 / 720;
  series = series * r + 1.0 / 120;
  series = series * r + 1.0 / 24;
  series = series * r + 1.0 / 6;
  series = series * r + 0.5;
  series = series * r + 1.0;
  series = series * r + 1.0;
  const unsigned long long power = __builtin_bit_cast(unsigned long long, shifted) << 52;
  return __builtin_bit_cast(double, __builtin_bit_cast(unsigned long long, series) + power);
}

UMA_INLINE inline float root(float x)
{
  return __builtin_sqrtf(x);
}

UMA_INLINE inline double root(double x)
{
  return __builtin_sqrt(x);
}

#endif

template <class T> UMA_INLINE inline T sigmoid(T x)
{
  return T(1) / (T(1) + exponential(-x));
}

}    // namespace uma::kernels

#endif
