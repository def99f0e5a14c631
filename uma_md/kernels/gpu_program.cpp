// SPDX-License-Identifier: MIT

#include "gpu_program.h"

#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace uma::kernels {
namespace {

namespace fs = std::filesystem;

std::string name_of_binary(const std::string &architecture, const std::string &compiler,
                           const std::vector<std::string> &definitions)
{
  std::string name = "gpu-" + architecture + "-nvrtc" + compiler;
  for (const auto &definition : definitions) {
    name.append(1, '-').append(definition, definition.find('=') + 1);
  }
  return name + ".cubin";
}

// The folder of this library.
fs::path here()
{
  Dl_info info;
  if (!dladdr(reinterpret_cast<const void *>(&name_of_binary), &info) || !info.dli_fname) return {};
  return fs::path(info.dli_fname).parent_path();
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

GpuProgram::GpuProgram(const std::vector<std::string> &definitions, c10::Device device,
                       std::shared_ptr<const GpuDriver> driver, bool keeps) :
    driver_(std::move(driver)),
    device_(device)
{
  const auto architecture = driver_->architecture(device);
  const auto path = here() / name_of_binary(architecture, driver_->version(), definitions);
  std::string binary = keeps ? read(path) : std::string();
  if (binary.empty()) {
    std::vector<std::string> options{"--gpu-architecture=" + architecture, "--std=c++17",
                                     "-default-device"};
    for (const auto &definition : definitions) options.push_back("-D" + definition);
    binary = driver_->compile(options);
    if (keeps) keep(binary, path);
  }
  driver_->check(driver_->cuModuleLoadData(&module_, binary.data()), "loading");
}

GpuProgram::~GpuProgram()
{
  if (module_) driver_->cuModuleUnload(module_);
}

void GpuProgram::launch_with(const char *kernel, const Grid &grid, const void *arguments) const
{
  if (grid.blocks_x == 0) return;
  void *&function = functions_[kernel];
  if (!function) {
    driver_->check(driver_->cuModuleGetFunction(&function, module_, kernel), "finding one");
  }
  void *parameters[] = {const_cast<void *>(arguments)};
  driver_->check(driver_->cuLaunchKernel(function, grid.blocks_x, grid.blocks_y, 1, grid.threads_x,
                                         grid.threads_y, 1, 0, GpuDriver::current_stream(device_),
                                         parameters, nullptr),
                 "starting one");
}

}    // namespace uma::kernels
