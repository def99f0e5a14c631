// SPDX-License-Identifier: MIT
// Work for a GPU that is recorded once and started again as a whole: a CUDA graph.

#ifndef UMA_KERNELS_GPU_GRAPH_H
#define UMA_KERNELS_GPU_GRAPH_H

#include "gpu_driver.h"

#include <memory>
#include <utility>

namespace uma::kernels {

class GpuGraph {
 public:
  GpuGraph(std::shared_ptr<const GpuDriver> driver, c10::Device device) :
      driver_(std::move(driver)),
      device_(device)
  {
  }
  ~GpuGraph();
  GpuGraph(const GpuGraph &) = delete;
  GpuGraph &operator=(const GpuGraph &) = delete;

  // Records what 'work' hands to torch's current stream, which must not be the default one, and
  // starts nothing. Memory that it uses must stay where it is. Throws what 'work' throws, and
  // std::runtime_error.
  template <class Work> void record(const Work &work)
  {
    begin();
    try {
      work();
    } catch (...) {
      abandon();
      throw;
    }
    end();
  }

  // Starts it on torch's current stream. Throws std::runtime_error.
  void launch() const;

 private:
  void begin();
  void end();
  void abandon() noexcept;

  std::shared_ptr<const GpuDriver> driver_;
  c10::Device device_;
  void *executable_ = nullptr;
};

}    // namespace uma::kernels

#endif
