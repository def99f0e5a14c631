// SPDX-License-Identifier: MIT
// CUDA's words on a host: the threads of a block are fibers that take turns, so that indices,
// grids, strides and the order of sums are those of a GPU. Included before gpu_kernels.cu.

#include <cmath>
#include <cstddef>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define UMA_KERNEL(name, Arguments) extern "C" void name(const Arguments<Real> &p)

#define UMA_TO_HALF(bits, x) bits = stand_in::to_half(x)
#define UMA_FROM_HALF(x, bits) x = stand_in::from_half(bits)

namespace stand_in {

static unsigned short to_half(float x)
{
  return __builtin_bit_cast(unsigned short, _Float16(x));
}

static float from_half(unsigned short bits)
{
  return __builtin_bit_cast(_Float16, bits);
}

}    // namespace stand_in

struct Index {
  unsigned x, y;
};

static Index threadIdx, blockIdx, blockDim;

static int min(int a, int b)
{
  return a < b ? a : b;
}

static int max(int a, int b)
{
  return a < b ? b : a;
}

namespace stand_in {

constexpr size_t STACK = 1 << 16;

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(STACK);
  bool is_done;
  double slot;    // what others may read
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static unsigned current;
static void (*kernel)(const void *);
static const void *arguments;

static void run_fiber()
{
  kernel(arguments);
  fibers[current].is_done = true;
  swapcontext(&fibers[current].context, &scheduler);
}

// Lets every other thread of the block come as far.
static void wait()
{
  swapcontext(&fibers[current].context, &scheduler);
}

static void run_block()
{
  const unsigned threads = blockDim.x * blockDim.y;
  if (fibers.size() < threads) fibers.resize(threads);
  for (unsigned t = 0; t < threads; t++) {
    Fiber &fiber = fibers[t];
    fiber.is_done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
  }
  for (bool any = true; any;) {
    any = false;
    for (unsigned t = 0; t < threads; t++) {
      if (fibers[t].is_done) continue;
      any = true;
      current = t;
      threadIdx = {t % blockDim.x, t / blockDim.x};
      swapcontext(&scheduler, &fibers[t].context);
    }
  }
}

}    // namespace stand_in

template <class T> T __shfl_xor_sync(unsigned lanes, T value, int apart)
{
  using namespace stand_in;
  const unsigned lane = current % 32, partner = lane ^ unsigned(apart);
  if (!(lanes >> lane & 1) || !(lanes >> partner & 1)) return T(NAN);
  fibers[current].slot = double(value);
  wait();
  const T other = T(fibers[current / 32 * 32 + partner].slot);
  wait();
  threadIdx = {current % blockDim.x, current / blockDim.x};
  return other;
}

extern "C" void stand_in_run(void (*kernel)(const void *), const void *arguments, unsigned blocks_x,
                             unsigned blocks_y, unsigned threads_x, unsigned threads_y)
{
  stand_in::kernel = kernel;
  stand_in::arguments = arguments;
  blockDim = {threads_x, threads_y};
  for (unsigned y = 0; y < blocks_y; y++) {
    for (unsigned x = 0; x < blocks_x; x++) {
      blockIdx = {x, y};
      stand_in::run_block();
    }
  }
}
