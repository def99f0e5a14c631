// SPDX-License-Identifier: GPL-2.0-only

#include "placement.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif

namespace uma {
namespace {

struct Node {
  int rank = 0, size = 1, cores = 1;
};

// Cores that any rank of the node may run on: ranks bound to different cores add up.
int cores_of(MPI_Comm node)
{
#if defined(__linux__)
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof(cores), &cores);
  MPI_Allreduce(MPI_IN_PLACE, &cores, sizeof(cores), MPI_BYTE, MPI_BOR, node);
  return std::max(1, CPU_COUNT(&cores));
#else
  (void) node;
  return std::max(1u, std::thread::hardware_concurrency());
#endif
}

Node survey(MPI_Comm world)
{
  Node here;
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Comm_rank(node, &here.rank);
  MPI_Comm_size(node, &here.size);
  here.cores = cores_of(node);
  MPI_Comm_free(&node);
  return here;
}

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

c10::Device pick_device(int index, int count, DeviceChoice choice)
{
  const auto accelerator = at::accelerator::getAccelerator();
  const bool usable = accelerator && count > 0 && has_float64(*accelerator);
  if (choice == DeviceChoice::CUDA && !(usable && *accelerator == c10::kCUDA)) {
    throw std::runtime_error("pair_style uma: 'device cuda' must find a CUDA or ROCm device, but "
                             "torch sees none; check the driver and torch's build, or use 'device "
                             "cpu'");
  }
  if (choice == DeviceChoice::CPU || !usable) return c10::Device(c10::kCPU);
  return c10::Device(*accelerator, c10::DeviceIndex(index % count));
}

// MemAvailable counts the file cache, which the system gives back; sysconf does not.
int64_t available_host_memory()
{
  std::ifstream meminfo("/proc/meminfo");
  std::string name, unit;
  for (int64_t kibibytes; meminfo >> name >> kibibytes; std::getline(meminfo, unit)) {
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return int64_t(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE) / 2;
}

}    // namespace

Placement place(MPI_Comm world, Partition partition, DeviceChoice choice)
{
  const Node node = survey(world);
  Placement placement;
  placement.ranks_on_node = node.size * partition.count;
  placement.devices_on_node = at::accelerator::deviceCount();
  placement.device =
      pick_device(partition.first_rank + node.rank, placement.devices_on_node, choice);
  if (!placement.device.is_cpu()) {
    at::accelerator::setDeviceIndex(placement.device.index());
    placement.ranks_on_device =
        (placement.ranks_on_node + placement.devices_on_node - 1) / placement.devices_on_node;
  }
  placement.threads = std::min(most_threads(), std::max(1, node.cores / placement.ranks_on_node));
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

void one_of_node_first(MPI_Comm world, const std::function<void()> &work)
{
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  int rank = 0;
  MPI_Comm_rank(node, &rank);
  std::exception_ptr failure;
  try {
    if (rank == 0) work();
  } catch (...) {
    failure = std::current_exception();
  }
  MPI_Barrier(node);
  MPI_Comm_free(&node);
  if (failure) std::rethrow_exception(failure);
  if (rank != 0) work();
}

int64_t available_memory(const Placement &placement)
{
  if (placement.device.is_cpu()) return available_host_memory() / placement.ranks_on_node;
  at::accelerator::emptyCache();
  const auto [free, total] = at::accelerator::getMemoryInfo(placement.device.index());
  return int64_t(free) / placement.ranks_on_device;
}

}    // namespace uma
