// SPDX-License-Identifier: MIT

#ifndef UMA_KERNELS_BUFFER_H
#define UMA_KERNELS_BUFFER_H

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace uma::kernels {

// A matrix whose memory only grows, so that steps of a run use the same. What has grown once gets
// room for an eighth more: numbers of edges that creep up would else leave gaps that nothing fills,
// one with each new largest number.
class Buffer {
 public:
  void reserve(int64_t rows, int64_t width, const at::TensorOptions &options)
  {
    width_ = width;
    const int64_t needed = rows * width;
    if (memory_.defined() && memory_.numel() >= needed) return;
    const int64_t more = memory_.defined() ? needed / 8 : 0;
    memory_ = at::Tensor();    // first free, then allocate
    memory_ = at::empty({needed + more}, options);
  }
  template <class T> T *rows(int64_t first = 0) const
  {
    return memory_.data_ptr<T>() + first * width_;
  }
  void zero() { memory_.zero_(); }
  int64_t bytes() const { return memory_.defined() ? int64_t(memory_.nbytes()) : 0; }

 private:
  at::Tensor memory_;
  int64_t width_ = 0;
};

// Whole numbers that stay where they were, for work that is recorded.
class Settled {
 public:
  // Puts numbers into this place, followed by zeros where there is more room.
  void take(at::Tensor &numbers, int64_t room)
  {
    const int64_t num = numbers.numel();
    if (!place_.defined() || place_.numel() < room) place_ = at::empty({room}, numbers.options());
    place_.narrow(0, 0, num).copy_(numbers);
    if (num < room) place_.narrow(0, num, room - num).zero_();
    numbers = place_;
  }

 private:
  at::Tensor place_;
};

}    // namespace uma::kernels

#endif
