// SPDX-License-Identifier: MIT

#ifndef UMA_KERNELS_PARALLEL_H
#define UMA_KERNELS_PARALLEL_H

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <algorithm>
#include <atomic>
#include <c10/core/DeviceGuard.h>

namespace uma::kernels {

// Calls work(k, thread) for k = first..end - 1, which up to so many threads share out as they come.
template <class Work>
void share_out(int first, int end, int64_t threads, at::Device device, const Work &work)
{
  std::atomic<int> next = first;
  at::parallel_for(0, std::min<int64_t>(threads, end - first), 1, [&](int64_t begin, int64_t stop) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const c10::DeviceGuard guard(device);
    for (int64_t thread = begin; thread < stop; thread++) {
      for (int k = next++; k < end; k = next++) work(k, thread);
    }
  });
}

}    // namespace uma::kernels

#endif
