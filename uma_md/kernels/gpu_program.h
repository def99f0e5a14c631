// SPDX-License-Identifier: MIT
// Kernels for the GPU at hand, compiled when they are first used. What was compiled stays beside
// this library, by GPU, compiler and definitions.

#ifndef UMA_KERNELS_GPU_PROGRAM_H
#define UMA_KERNELS_GPU_PROGRAM_H

#include "gpu_driver.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace uma::kernels {

class GpuProgram {
 public:
  struct Grid {
    unsigned blocks_x, blocks_y;
    unsigned threads_x, threads_y;
  };

  // definitions: NAME=VALUE, which tell gpu_kernels.cu what to compile. keeps: whether what was
  // compiled is kept and found again.
  // Throws std::runtime_error when driver or compiler report an error.
  GpuProgram(const std::vector<std::string> &definitions, c10::Device device,
             std::shared_ptr<const GpuDriver> driver, bool keeps);
  ~GpuProgram();

  // Runs a kernel on torch's current stream. Throws std::runtime_error.
  template <class Arguments>
  void launch(const char *kernel, const Grid &grid, const Arguments &arguments) const
  {
    launch_with(kernel, grid, &arguments);
  }

 private:
  void launch_with(const char *kernel, const Grid &grid, const void *arguments) const;

  std::shared_ptr<const GpuDriver> driver_;
  c10::Device device_;
  void *module_ = nullptr;
  mutable std::map<std::string, void *> functions_;
};

}    // namespace uma::kernels

#endif
