// SPDX-License-Identifier: GPL-2.0-only
// Copies between a device and the host's memory.

#ifndef UMA_HOST_MEMORY_H
#define UMA_HOST_MEMORY_H

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

namespace uma {

// Pinned memory of the host, kept from one use to the next.
class HostBuffer {
 public:
  // A part of it with the shape and type of a tensor. The one given before is overwritten.
  at::Tensor like(const at::Tensor &tensor);

 private:
  at::Tensor bytes_;
};

// A copy to the host on a stream of its own: it waits for what is queued on the device before it,
// and what is queued after it does not wait for it.
class CopyToHost {
 public:
  // 'host' is pinned; both must live until the copy is done.
  CopyToHost(const at::Tensor &host, const at::Tensor &source, c10::Stream stream);
  void wait() const { done_.synchronize(); }
  bool is_done() const { return done_.query(); }

  // The stream for such copies from a device.
  static c10::Stream stream(at::Device device);

 private:
  c10::Event done_;
};

// A copy from pinned memory on that stream; what is queued on the device after it waits for it.
// The memory of 'target' was there when something was copied to the host before.
void copy_to_device(const at::Tensor &target, const at::Tensor &host, c10::Stream stream);

// A tensor's values in the host's memory, waited for; the tensor itself where it is there already.
at::Tensor on_host(const at::Tensor &tensor);

}    // namespace uma

#endif
