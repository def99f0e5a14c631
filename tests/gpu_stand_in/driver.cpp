// SPDX-License-Identifier: MIT
// Stands in for CUDA's driver and run-time compiler where there is no GPU: what is compiled is
// compiled by the host's compiler, and what is launched runs on the host. A binary is the path of a
// library. STAND_IN_COMPILER, STAND_IN_FOLDER and STAND_IN_OUTPUT are given when this is compiled.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

struct Program {
  std::string folder, library, log;
};

struct Function {
  void (*run)(void (*)(const void *), const void *, unsigned, unsigned, unsigned, unsigned);
  void (*kernel)(const void *);
};

constexpr int FAILED = 1;

bool is_definition(const std::string &option)
{
  return option.rfind("-D", 0) == 0;
}

}    // namespace

extern "C" {

int cuDeviceGet(int *device, int ordinal)
{
  *device = ordinal;
  return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int)
{
  *value = attribute == 75 ? 9 : 0;
  return attribute == 75 || attribute == 76 ? 0 : FAILED;
}

int cuModuleLoadData(void **module, const void *image)
{
  *module = dlopen(static_cast<const char *>(image), RTLD_NOW | RTLD_LOCAL);
  return *module ? 0 : FAILED;
}

int cuModuleUnload(void *module)
{
  return dlclose(module);
}

int cuModuleGetFunction(void **function, void *module, const char *name)
{
  auto *found = new Function;
  *reinterpret_cast<void **>(&found->run) = dlsym(module, "stand_in_run");
  *reinterpret_cast<void **>(&found->kernel) = dlsym(module, name);
  *function = found;
  return found->kernel ? 0 : FAILED;
}

int cuLaunchKernel(void *function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z,
                   unsigned threads_x, unsigned threads_y, unsigned threads_z, unsigned shared,
                   void *, void **parameters, void **extra)
{
  if (blocks_x == 0 || blocks_y == 0 || blocks_z != 1 || threads_z != 1 || shared || extra ||
      threads_x * threads_y == 0 || threads_x * threads_y > 1024)
    return FAILED;
  const auto *found = static_cast<const Function *>(function);
  found->run(found->kernel, parameters[0], blocks_x, blocks_y, threads_x, threads_y);
  return 0;
}

// Nothing is recorded here: the stages do recorded work again.
int cuStreamBeginCapture_v2(void *, int)
{
  return FAILED;
}

int cuStreamEndCapture(void *, void **)
{
  return FAILED;
}

int cuGraphInstantiateWithFlags(void **, void *, unsigned long long)
{
  return FAILED;
}

int cuGraphLaunch(void *, void *)
{
  return FAILED;
}

int cuGraphExecDestroy(void *)
{
  return FAILED;
}

int cuGraphDestroy(void *)
{
  return FAILED;
}

int cuGetErrorString(int, const char **text)
{
  *text = "refused by the stand-in";
  return 0;
}

int nvrtcVersion(int *major, int *minor)
{
  *major = *minor = 0;
  return 0;
}

int nvrtcCreateProgram(void **program, const char *source, const char *name, int num_headers,
                       const char *const *headers, const char *const *header_names)
{
  char folder[] = STAND_IN_OUTPUT "/XXXXXX";
  if (!mkdtemp(folder)) return FAILED;
  auto *made = new Program{folder, std::string(folder) + "/kernels.so", ""};
  std::ofstream(made->folder + "/" + name) << source;
  for (int k = 0; k < num_headers; k++) {
    std::ofstream(made->folder + "/" + header_names[k]) << headers[k];
  }
  *program = made;
  return 0;
}

int nvrtcCompileProgram(void *program, int num_options, const char *const *options)
{
  auto *made = static_cast<Program *>(program);
  std::string command = STAND_IN_COMPILER
                        " -O1 -std=c++20 -fPIC -shared -w -include " STAND_IN_FOLDER
                        "/threads.h -x c++ -o " +
                        made->library;
  for (int k = 0; k < num_options; k++) {
    if (is_definition(options[k])) command += std::string(" ") + options[k];
  }
  const auto log = made->folder + "/log";
  const int result =
      std::system((command + " " + made->folder + "/gpu_kernels.cu > " + log + " 2>&1").c_str());
  std::stringstream text;
  text << std::ifstream(log).rdbuf();
  made->log = text.str();
  return result == 0 ? 0 : FAILED;
}

int nvrtcGetProgramLogSize(void *program, size_t *size)
{
  *size = static_cast<Program *>(program)->log.size() + 1;
  return 0;
}

int nvrtcGetProgramLog(void *program, char *text)
{
  std::strcpy(text, static_cast<Program *>(program)->log.c_str());
  return 0;
}

int nvrtcGetCUBINSize(void *program, size_t *size)
{
  *size = static_cast<Program *>(program)->library.size() + 1;
  return 0;
}

int nvrtcGetCUBIN(void *program, char *binary)
{
  std::strcpy(binary, static_cast<Program *>(program)->library.c_str());
  return 0;
}

int nvrtcDestroyProgram(void **program)
{
  delete static_cast<Program *>(*program);
  *program = nullptr;
  return 0;
}

const char *nvrtcGetErrorString(int)
{
  return "refused by the stand-in";
}

}    // extern "C"
