// SPDX-License-Identifier: MIT
// CUDA's driver and run-time compiler, those that torch brings along, found when they are first
// used: neither building nor running takes a CUDA toolkit.

#ifndef UMA_KERNELS_GPU_DRIVER_H
#define UMA_KERNELS_GPU_DRIVER_H

#include <c10/core/Device.h>
#include <string>
#include <vector>

namespace uma::kernels {

// The functions that are used, with their types of C.
struct GpuDriver {
  // name: of the library that has them; empty takes those of torch.
  // Throws std::runtime_error when there are none.
  explicit GpuDriver(const std::string &name);

  // Whether torch brings a driver and a compiler along.
  static bool is_possible();

  // Throws std::runtime_error when a function of the driver reported an error.
  void check(int result, const char *what) const;

  // The same for the compiler.
  void check_compiler(int result) const;

  // torch's, as the driver knows it.
  static void *current_stream(c10::Device device);

  // Such as sm_90.
  std::string architecture(c10::Device device) const;

  // Of the compiler.
  std::string version() const;

  // Compiles gpu_kernels.cu to what the driver loads. Throws std::runtime_error.
  std::string compile(const std::vector<std::string> &options) const;

  int (*cuDeviceGet)(int *, int);
  int (*cuDeviceGetAttribute)(int *, int, int);
  int (*cuModuleLoadData)(void **, const void *);
  int (*cuModuleUnload)(void *);
  int (*cuModuleGetFunction)(void **, void *, const char *);
  int (*cuLaunchKernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        unsigned, void *, void **, void **);
  int (*cuStreamBeginCapture_v2)(void *, int);
  int (*cuStreamEndCapture)(void *, void **);
  int (*cuGraphInstantiateWithFlags)(void **, void *, unsigned long long);
  int (*cuGraphLaunch)(void *, void *);
  int (*cuGraphExecDestroy)(void *);
  int (*cuGraphDestroy)(void *);
  int (*cuGetErrorString)(int, const char **);
  int (*nvrtcVersion)(int *, int *);
  int (*nvrtcCreateProgram)(void **, const char *, const char *, int, const char *const *,
                            const char *const *);
  int (*nvrtcCompileProgram)(void *, int, const char *const *);
  int (*nvrtcGetProgramLogSize)(void *, size_t *);
  int (*nvrtcGetProgramLog)(void *, char *);
  int (*nvrtcGetCUBINSize)(void *, size_t *);
  int (*nvrtcGetCUBIN)(void *, char *);
  int (*nvrtcDestroyProgram)(void **);
  const char *(*nvrtcGetErrorString)(int);
};

}    // namespace uma::kernels

#endif
