// SPDX-License-Identifier: MIT

#ifndef UMA_KERNELS_BUFFER_H
#define UMA_KERNELS_BUFFER_H

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <c10/core/InferenceMode.h>
#include <cmath>
#include <limits>

namespace uma::kernels {

// A matrix whose memory only grows, so that steps of a run use the same. What has grown once gets
// room that seldom runs out: numbers of edges that creep up would else leave gaps that nothing
// fills, one with each new largest number.
class Buffer {
 public:
  static constexpr int64_t UNLIMITED = std::numeric_limits<int64_t>::max();

  // Rows to have room for: an eighth more, and 16 times the square root of their number, by which
  // numbers of edges fluctuate.
  static int64_t with_room(int64_t rows)
  {
    return rows + rows / 8 + int64_t(16.0 * std::sqrt(double(rows)));
  }

  // There are never more rows than 'most', or than now.
  void reserve(int64_t rows, int64_t width, const at::TensorOptions &options,
               int64_t most = UNLIMITED)
  {
    width_ = width;
    if (memory_.defined() && memory_.numel() >= rows * width) return;
    const int64_t room = memory_.defined() ? std::min(with_room(rows), std::max(rows, most)) : rows;
    const c10::InferenceMode guard(false);    // memory serves outside of it, too
    memory_ = at::Tensor();                   // first free, then allocate
    memory_ = at::empty({room * width}, options);
    if (room > rows && memory_.is_cpu()) memory_.zero_();    // the system gives it now, not later
  }
  // The first rows, (rows, width).
  at::Tensor tensor(int64_t rows) const
  {
    return memory_.narrow(0, 0, rows * width_).view({rows, width_});
  }
  template <class T> T *rows(int64_t first = 0) const
  {
    return memory_.data_ptr<T>() + first * width_;
  }
  // Whether a tensor that was made of it still exists.
  bool held_elsewhere() const { return memory_.defined() && memory_.storage().use_count() > 1; }
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
