// SPDX-License-Identifier: MIT

#include "gpu_program.h"

#include "gpu_sources.h"    // made by CMake: GPU_SOURCES, name and text of each

#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <unistd.h>

namespace uma::kernels {
namespace {

namespace fs = std::filesystem;

constexpr int COMPUTE_CAPABILITY_MAJOR = 75, COMPUTE_CAPABILITY_MINOR = 76;    // of cuda.h

// The folder that a library was loaded from, by something in it.
fs::path folder_of(const void *address)
{
  Dl_info info;
  if (!dladdr(address, &info) || !info.dli_fname) return {};
  return fs::path(info.dli_fname).parent_path();
}

// torch loads both through this library of its own.
void *open_torchs()
{
  const auto name =
      folder_of(reinterpret_cast<const void *>(&c10::DeviceTypeName)) / "libcaffe2_nvrtc.so";
  return dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
}

}    // namespace

// The functions that are used of CUDA's driver and compiler, with their types of C.
struct GpuProgram::Driver {
  int (*cuDeviceGet)(int *, int);
  int (*cuDeviceGetAttribute)(int *, int, int);
  int (*cuModuleLoadData)(void **, const void *);
  int (*cuModuleUnload)(void *);
  int (*cuModuleGetFunction)(void **, void *, const char *);
  int (*cuLaunchKernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        unsigned, void *, void **, void **);
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

  explicit Driver(const std::string &name)
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

  void check(int result, const char *what) const
  {
    if (result == 0) return;
    const char *text = "unknown error";
    cuGetErrorString(result, &text);
    throw std::runtime_error(std::string(what) + " of the GPU's kernels failed: " + text);
  }

  void check_compiler(int result) const
  {
    if (result == 0) return;
    throw std::runtime_error(std::string("CUDA's run-time compiler failed: ") +
                             nvrtcGetErrorString(result));
  }

  // Such as sm_90.
  std::string architecture(c10::Device device) const
  {
    int handle, major, minor;
    check(cuDeviceGet(&handle, device.has_index() ? device.index() : 0), "finding the device");
    check(cuDeviceGetAttribute(&major, COMPUTE_CAPABILITY_MAJOR, handle), "asking the device");
    check(cuDeviceGetAttribute(&minor, COMPUTE_CAPABILITY_MINOR, handle), "asking the device");
    return "sm_" + std::to_string(major) + std::to_string(minor);
  }

  std::string version() const
  {
    int major, minor;
    check_compiler(nvrtcVersion(&major, &minor));
    return std::to_string(major) + "." + std::to_string(minor);
  }

  std::string compile(const std::vector<std::string> &options) const;
};

namespace {

std::string name_of_binary(const std::string &architecture, const std::string &compiler,
                           const std::vector<std::string> &definitions)
{
  std::string name = "gpu-" + architecture + "-nvrtc" + compiler;
  for (const auto &definition : definitions) {
    name.append(1, '-').append(definition, definition.find('=') + 1);
  }
  return name + ".cubin";
}

std::string read(const fs::path &path)
{
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Other processes see all of it or nothing; where it cannot be kept, it is compiled again.
void keep(const std::string &binary, const fs::path &path)
{
  const fs::path part = path.string() + "." + std::to_string(getpid());
  std::ofstream file(part, std::ios::binary);
  file << binary << std::flush;
  std::error_code ignored;
  if (file)
    fs::rename(part, path, ignored);
  else
    fs::remove(part, ignored);
}

}    // namespace

std::string GpuProgram::Driver::compile(const std::vector<std::string> &options) const
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

GpuProgram::GpuProgram(const std::vector<std::string> &definitions, c10::Device device,
                       const std::string &driver) :
    driver_(std::make_shared<Driver>(driver)),
    device_(device)
{
  const auto architecture = driver_->architecture(device);
  const auto here = folder_of(reinterpret_cast<const void *>(&name_of_binary));
  const auto path = here / name_of_binary(architecture, driver_->version(), definitions);
  std::string binary = driver.empty() ? read(path) : std::string();
  if (binary.empty()) {
    std::vector<std::string> options{"--gpu-architecture=" + architecture, "--std=c++17",
                                     "-default-device"};
    for (const auto &definition : definitions) options.push_back("-D" + definition);
    binary = driver_->compile(options);
    if (driver.empty()) keep(binary, path);
  }
  driver_->check(driver_->cuModuleLoadData(&module_, binary.data()), "loading");
}

GpuProgram::~GpuProgram()
{
  if (module_) driver_->cuModuleUnload(module_);
}

bool GpuProgram::is_possible()
{
  void *library = open_torchs();
  return library && dlsym(library, "cuLaunchKernel");    // torch for AMD's GPUs has others
}

void GpuProgram::launch_with(const char *kernel, const Grid &grid, const void *arguments) const
{
  if (grid.blocks_x == 0) return;
  void *&function = functions_[kernel];
  if (!function) {
    driver_->check(driver_->cuModuleGetFunction(&function, module_, kernel), "finding one");
  }
  void *stream = nullptr;
  if (!device_.is_cpu()) {
    stream = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_).native_handle();
  }
  void *parameters[] = {const_cast<void *>(arguments)};
  driver_->check(driver_->cuLaunchKernel(function, grid.blocks_x, grid.blocks_y, 1, grid.threads_x,
                                         grid.threads_y, 1, 0, stream, parameters, nullptr),
                 "starting one");
}

}    // namespace uma::kernels
