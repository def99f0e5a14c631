// SPDX-License-Identifier: MIT

#ifndef UMA_KERNELS_BUFFER_H
#define UMA_KERNELS_BUFFER_H

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace uma::kernels {

// A matrix whose memory only grows, so that steps of a run use the same.
class Buffer {
 public:
  void reserve(int64_t rows, int64_t width, const at::TensorOptions &options)
  {
    width_ = width;
    if (!memory_.defined() || memory_.numel() < rows * width) {
      memory_ = at::Tensor();    // first free, then allocate
      memory_ = at::empty({rows * width}, options);
    }
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

}    // namespace uma::kernels

#endif
