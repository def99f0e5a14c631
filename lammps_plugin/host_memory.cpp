// SPDX-License-Identifier: GPL-2.0-only

#include "host_memory.h"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace uma {
namespace {

at::TensorOptions pinned(at::ScalarType dtype)
{
  return at::dtype(dtype).device(at::kCPU).pinned_memory(true);
}

}    // namespace

at::Tensor HostBuffer::like(const at::Tensor &tensor)
{
  const auto bytes = int64_t(tensor.nbytes());
  if (!bytes_.defined() || bytes_.numel() < bytes) {
    bytes_ = at::empty({bytes + bytes / 4}, pinned(at::kByte));
  }
  return bytes_.narrow(0, 0, bytes).view(tensor.scalar_type()).view(tensor.sizes());
}

CopyToHost::CopyToHost(const at::Tensor &host, const at::Tensor &source, c10::Stream stream) :
    done_(stream.device_type())
{
  c10::Event ready(stream.device_type());
  ready.record(c10::impl::VirtualGuardImpl(stream.device_type()).getStream(stream.device()));
  ready.block(stream);
  const c10::StreamGuard on_that_stream(stream);
  host.copy_(source, /*non_blocking=*/true);
  done_.record(stream);
}

c10::Stream CopyToHost::stream(at::Device device)
{
  return c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

void copy_to_device(const at::Tensor &target, const at::Tensor &host, c10::Stream stream)
{
  c10::Event arrived(stream.device_type());
  {
    const c10::StreamGuard on_that_stream(stream);
    target.copy_(host, /*non_blocking=*/true);
    arrived.record(stream);
  }
  arrived.block(c10::impl::VirtualGuardImpl(stream.device_type()).getStream(stream.device()));
}

at::Tensor on_host(const at::Tensor &tensor)
{
  if (tensor.is_cpu()) return tensor;
  return at::empty(tensor.sizes(), pinned(tensor.scalar_type())).copy_(tensor);
}

}    // namespace uma
