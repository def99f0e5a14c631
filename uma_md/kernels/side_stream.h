// SPDX-License-Identifier: MIT
// A stream beside torch's default one, on which work can be recorded. uma_md/streams.py is the same
// for Python.

#ifndef UMA_KERNELS_SIDE_STREAM_H
#define UMA_KERNELS_SIDE_STREAM_H

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <optional>

namespace uma::kernels {

class SideStream {
 public:
  // Makes one where the device records work; elsewhere scopes change nothing.
  SideStream(at::Device device, bool wanted)
  {
    if (!wanted || !device.is_cuda()) return;
    stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device, false);
  }

  // While it lives, the side stream is torch's current one. It begins when what was started before
  // is done, and what is started afterwards waits for it.
  class Scope {
   public:
    explicit Scope(const SideStream &side)
    {
      if (!side.stream_) return;
      guard_.emplace(*side.stream_);
      wait(*side.stream_, guard_->original_stream());
    }
    ~Scope()
    {
      try {
        if (guard_) wait(guard_->original_stream(), guard_->current_stream());
      } catch (...) {    // the device has failed, and whatever is asked of it next says so
      }
    }
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;

   private:
    static void wait(const c10::Stream &stream, const c10::Stream &other)
    {
      c10::Event event(stream.device_type());
      event.record(other);
      event.block(stream);
    }

    std::optional<c10::StreamGuard> guard_;
  };

 private:
  std::optional<c10::Stream> stream_;
};

}    // namespace uma::kernels

#endif
