// SPDX-License-Identifier: GPL-2.0-only

#include "placement.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace uma {
namespace {

// What OMP_NUM_THREADS allows: its first number, since those after it are for nested regions.
// OpenMP itself cannot be asked: LAMMPS sets 1 where the variable is not set.
int most_threads()
{
  const char *text = std::getenv("OMP_NUM_THREADS");
  const int number = text ? std::atoi(text) : 0;
  return number > 0 ? number : INT_MAX;
}

void set_threads(int number)
{
  if (at::get_num_threads() != number) at::set_num_threads(number);
}

// Apple's devices know no float64, which energies and sums need.
bool has_float64(c10::DeviceType type)
{
  return type != c10::kMPS;
}

[[noreturn]] void refuse(const std::string &name, const std::string &kind)
{
  throw std::runtime_error("pair_style uma: 'device " + name + "' must find " + kind +
                           " device, but torch sees none; check the driver and torch's build, or "
                           "use 'device cpu'");
}

c10::DeviceType pick_device(DeviceChoice choice)
{
  const auto accelerator = at::accelerator::getAccelerator();
  const bool usable =
      accelerator && at::accelerator::deviceCount() > 0 && has_float64(*accelerator);
  const auto found = usable ? *accelerator : c10::kCPU;
  if (choice == DeviceChoice::CUDA && found != c10::kCUDA) refuse("cuda", "a CUDA or ROCm");
  if (choice == DeviceChoice::XPU && found != c10::kXPU) refuse("xpu", "an XPU");
  return choice == DeviceChoice::CPU ? c10::kCPU : found;
}

// The devices that each rank sees: where they have no UUIDs, their numbers, the same for all ranks.
Visible identified(const Node &node, int count)
{
  if (int(node.visible[node.rank].size()) == count) return node.visible;
  std::vector<std::string> numbers;
  for (int index = 0; index < count; index++) numbers.push_back(std::to_string(index));
  return Visible(node.size(), numbers);
}

}    // namespace

Placement place(const Node &node, DeviceChoice choice)
{
  Placement placement;
  placement.threads = std::min(most_threads(), std::max(1, node.cores / node.size()));
  placement.sharers = node.size();
  const auto type = pick_device(choice);
  if (type == c10::kCPU) return placement;
  const Visible visible = identified(node, at::accelerator::deviceCount());
  const auto choices = assign_devices(visible);
  placement.device = c10::Device(type, c10::DeviceIndex(choices[node.rank]));
  placement.sharers = count_sharers(visible, choices, node.rank);
  at::accelerator::setDeviceIndex(placement.device.index());
  return placement;
}

Threads::Threads(int ours, int theirs) : theirs_(theirs)
{
  set_threads(ours);
}

Threads::~Threads()
{
  set_threads(theirs_);
}

}    // namespace uma
