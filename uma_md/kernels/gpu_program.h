// SPDX-License-Identifier: MIT
// Kernels for the GPU at hand, compiled when they are first used.
//
// CUDA's run-time compiler and driver are those that torch brings along, found when a program is
// made: neither building nor running takes a CUDA toolkit. What was compiled stays beside this
// library, by GPU, compiler and definitions.

#ifndef UMA_KERNELS_GPU_PROGRAM_H
#define UMA_KERNELS_GPU_PROGRAM_H

#include <c10/core/Device.h>
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

  // definitions: NAME=VALUE, which tell gpu_kernels.cu what to compile. driver: a library that has
  // the functions of CUDA's driver and compiler; empty takes those of torch.
  // Throws std::runtime_error when there are none, or they report an error.
  GpuProgram(const std::vector<std::string> &definitions, c10::Device device,
             const std::string &driver);
  ~GpuProgram();

  // Whether torch brings a driver and a compiler along.
  static bool is_possible();

  // Runs a kernel on torch's current stream. Throws std::runtime_error.
  template <class Arguments>
  void launch(const char *kernel, const Grid &grid, const Arguments &arguments) const
  {
    launch_with(kernel, grid, &arguments);
  }

 private:
  struct Driver;
  void launch_with(const char *kernel, const Grid &grid, const void *arguments) const;

  std::shared_ptr<const Driver> driver_;
  c10::Device device_;
  void *module_ = nullptr;
  mutable std::map<std::string, void *> functions_;
};

}    // namespace uma::kernels

#endif
