// SPDX-License-Identifier: MIT
// CUDA's words on a host: the threads of a block are fibers that take turns, so that indices,
// grids, strides and the order of sums are those of a GPU. Included before gpu_kernels.cu.

#undef _FORTIFY_SOURCE    // it would refuse to jump between stacks

#include <cmath>
#include <csetjmp>
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
  jmp_buf place;    // where it goes on: unlike swapcontext, a jump asks nothing of the system
  std::vector<char> stack = std::vector<char>(STACK);
  bool is_done;
  double slot;    // what others may read
};

static std::vector<Fiber> fibers;
static jmp_buf scheduler;
static unsigned current;
static void (*kernel)(const void *);
static const void *arguments;

// Lets every other thread of the block come as far.
__attribute__((noinline)) static void wait()
{
  if (!_setjmp(fibers[current].place)) _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void go_on()
{
  if (!_setjmp(scheduler)) _longjmp(fibers[current].place, 1);
}

// A fiber serves one block after the other.
static void run_fiber()
{
  for (;;) {
    wait();
    kernel(arguments);
    fibers[current].is_done = true;
  }
}

__attribute__((noinline)) static void begin()
{
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fibers[current].stack.data();
  context.uc_stack.ss_size = STACK;
  context.uc_link = nullptr;
  makecontext(&context, run_fiber, 0);
  if (!_setjmp(scheduler)) setcontext(&context);
}

static void run_block()
{
  const unsigned threads = blockDim.x * blockDim.y;
  while (fibers.size() < threads) {
    fibers.emplace_back();
    current = unsigned(fibers.size()) - 1;
    begin();
  }
  for (unsigned t = 0; t < threads; t++) fibers[t].is_done = false;
  for (bool any = true; any;) {
    any = false;
    for (unsigned t = 0; t < threads; t++) {
      if (fibers[t].is_done) continue;
      any = true;
      current = t;
      threadIdx = {t % blockDim.x, t / blockDim.x};
      go_on();
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
