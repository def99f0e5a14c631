// SPDX-License-Identifier: MIT

#include "gpu_driver.h"

#include "gpu_sources.h"    // made by CMake: GPU_SOURCES, name and text of each

#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <filesystem>
#include <stdexcept>
#include <type_traits>

namespace uma::kernels {
namespace {

namespace fs = std::filesystem;

constexpr int COMPUTE_CAPABILITY_MAJOR = 75, COMPUTE_CAPABILITY_MINOR = 76;    // of cuda.h

// torch loads both through this library of its own, beside its others.
void *open_torchs()
{
  Dl_info info;
  const auto *of_torch = reinterpret_cast<const void *>(&c10::DeviceTypeName);
  if (!dladdr(of_torch, &info) || !info.dli_fname) return nullptr;
  const auto name = fs::path(info.dli_fname).parent_path() / "libcaffe2_nvrtc.so";
  return dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
}

}    // namespace

GpuDriver::GpuDriver(const std::string &name)
{
  void *library = name.empty() ? open_torchs() : dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw std::runtime_error(std::string("kernels for GPUs: ") + dlerror());
  const auto find = [&](const char *function, auto &pointer) {
    pointer =
        reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(library, function));
    if (!pointer) throw std::runtime_error(std::string("kernels for GPUs: ") + dlerror());
  };
#define UMA_FIND(function) find(#function, function)
  UMA_FIND(cuDeviceGet);
  UMA_FIND(cuDeviceGetAttribute);
  UMA_FIND(cuModuleLoadData);
  UMA_FIND(cuModuleUnload);
  UMA_FIND(cuModuleGetFunction);
  UMA_FIND(cuLaunchKernel);
  UMA_FIND(cuStreamBeginCapture_v2);
  UMA_FIND(cuStreamEndCapture);
  UMA_FIND(cuGraphInstantiateWithFlags);
  UMA_FIND(cuGraphLaunch);
  UMA_FIND(cuGraphExecDestroy);
  UMA_FIND(cuGraphDestroy);
  UMA_FIND(cuGetErrorString);
  UMA_FIND(nvrtcVersion);
  UMA_FIND(nvrtcCreateProgram);
  UMA_FIND(nvrtcCompileProgram);
  UMA_FIND(nvrtcGetProgramLogSize);
  UMA_FIND(nvrtcGetProgramLog);
  UMA_FIND(nvrtcGetCUBINSize);
  UMA_FIND(nvrtcGetCUBIN);
  UMA_FIND(nvrtcDestroyProgram);
  UMA_FIND(nvrtcGetErrorString);
#undef UMA_FIND
}

bool GpuDriver::is_possible()
{
  void *library = open_torchs();
  return library && dlsym(library, "cuLaunchKernel");    // torch for AMD's GPUs has others
}

void GpuDriver::check(int result, const char *what) const
{
  if (result == 0) return;
  const char *text = "unknown error";
  cuGetErrorString(result, &text);
  throw std::runtime_error(std::string(what) + " of the GPU's kernels failed: " + text);
}

void GpuDriver::check_compiler(int result) const
{
  if (result == 0) return;
  throw std::runtime_error(std::string("CUDA's run-time compiler failed: ") +
                           nvrtcGetErrorString(result));
}

std::string GpuDriver::architecture(c10::Device device) const
{
  int handle, major, minor;
  check(cuDeviceGet(&handle, device.has_index() ? device.index() : 0), "finding the device");
  check(cuDeviceGetAttribute(&major, COMPUTE_CAPABILITY_MAJOR, handle), "asking the device");
  check(cuDeviceGetAttribute(&minor, COMPUTE_CAPABILITY_MINOR, handle), "asking the device");
  return "sm_" + std::to_string(major) + std::to_string(minor);
}

void *GpuDriver::current_stream(c10::Device device)
{
  if (device.is_cpu()) return nullptr;    // where a stand-in runs
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
}

std::string GpuDriver::version() const
{
  int major, minor;
  check_compiler(nvrtcVersion(&major, &minor));
  return std::to_string(major) + "." + std::to_string(minor);
}

std::string GpuDriver::compile(const std::vector<std::string> &options) const
{
  std::vector<const char *> names, texts, words;
  const char *kernels = nullptr;
  for (const auto &source : GPU_SOURCES) {
    if (std::string(source.name) == "gpu_kernels.cu") {
      kernels = source.text;
      continue;
    }
    names.push_back(source.name);
    texts.push_back(source.text);
  }
  for (const auto &option : options) words.push_back(option.c_str());
  void *program = nullptr;
  check_compiler(nvrtcCreateProgram(&program, kernels, "gpu_kernels.cu", int(names.size()),
                                    texts.data(), names.data()));
  const int result = nvrtcCompileProgram(program, int(words.size()), words.data());
  size_t size = 0;
  if (result != 0) {
    check_compiler(nvrtcGetProgramLogSize(program, &size));
    std::string log(size, ' ');
    check_compiler(nvrtcGetProgramLog(program, log.data()));
    nvrtcDestroyProgram(&program);
    throw std::runtime_error("CUDA's run-time compiler did not take the kernels:\n" + log);
  }
  check_compiler(nvrtcGetCUBINSize(program, &size));
  std::string binary(size, ' ');
  check_compiler(nvrtcGetCUBIN(program, binary.data()));
  nvrtcDestroyProgram(&program);
  return binary;
}

}    // namespace uma::kernels
