// SPDX-License-Identifier: GPL-2.0-only

#include "devices.h"

#include <dlfcn.h>
#include <map>

namespace uma {
namespace {

constexpr size_t UUID_BYTES = 16;

// The few functions of the driver's interface that tell devices apart, without its headers.
struct Driver {
  int (*initialize)(unsigned flags) = nullptr;
  int (*count)(int *number) = nullptr;
  int (*get)(int *device, int index) = nullptr;
  int (*uuid)(char *bytes, int device) = nullptr;

  explicit operator bool() const { return initialize && count && get && uuid; }
};

template <typename Function>
void find(void *library, std::initializer_list<const char *> names, Function *&function)
{
  for (const char *name : names) {
    if (!function) function = reinterpret_cast<Function *>(dlsym(library, name));
  }
}

Driver open_driver()
{
  Driver driver;
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return driver;
  find(library, {"cuInit"}, driver.initialize);
  find(library, {"cuDeviceGetCount"}, driver.count);
  find(library, {"cuDeviceGet"}, driver.get);
  find(library, {"cuDeviceGetUuid_v2", "cuDeviceGetUuid"}, driver.uuid);    // _v2: parts of devices
  return driver;
}

}    // namespace

std::vector<std::string> device_identities()
{
  const Driver driver = open_driver();
  int number = 0;
  if (!driver || driver.initialize(0) != 0 || driver.count(&number) != 0) return {};
  std::vector<std::string> identities(number, std::string(UUID_BYTES, '\0'));
  for (int index = 0; index < number; index++) {
    int device = 0;
    if (driver.get(&device, index) != 0) return {};
    if (driver.uuid(identities[index].data(), device) != 0) return {};
  }
  return identities;
}

std::vector<int> assign_devices(const Visible &visible)
{
  std::map<std::string, int> taken;
  std::vector<int> choices;
  for (const auto &identities : visible) {
    int choice = 0;
    for (int k = 1; k < int(identities.size()); k++) {
      if (taken[identities[k]] < taken[identities[choice]]) choice = k;
    }
    taken[identities[choice]]++;
    choices.push_back(choice);
  }
  return choices;
}

int count_sharers(const Visible &visible, const std::vector<int> &choices, int rank)
{
  const std::string &mine = visible[rank][choices[rank]];
  int sharers = 0;
  for (size_t k = 0; k < visible.size(); k++) sharers += visible[k][choices[k]] == mine;
  return sharers;
}

}    // namespace uma
