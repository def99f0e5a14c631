// SPDX-License-Identifier: GPL-2.0-only

#include "memory_planner.h"

#include "kernels/buffer.h"

#include <ATen/DeviceAccelerator.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <unistd.h>

namespace uma {

using kernels::Keep;

namespace {

constexpr int64_t LARGE_CHUNK = 32768;    // edges that keep an accelerator busy
constexpr int64_t CHUNK_ON_CPU = 1024;    // edges whose features stay in the caches

// MemAvailable counts the file cache, which the system gives back; sysconf does not.
double available_on_host()
{
  std::ifstream meminfo("/proc/meminfo");
  std::string name, unit;
  for (int64_t kibibytes; meminfo >> name >> kibibytes; std::getline(meminfo, unit)) {
    if (name == "MemAvailable:") return 1024.0 * double(kibibytes);
  }
  return 0.5 * double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE));
}

double free_on_device(c10::DeviceIndex index)
{
  const auto [free, total] = at::accelerator::getMemoryInfo(index);
  const auto stats = at::accelerator::getDeviceStats(index);
  return double(free) + double(stats.reserved_bytes[0].current - stats.allocated_bytes[0].current);
}

}    // namespace

double available_memory(c10::Device device, int sharers)
{
  if (device.is_cpu()) return available_on_host() / (2 * sharers);
  return free_on_device(device.index()) * (sharers == 1 ? 0.8 : 0.5 / sharers);
}

MemoryPlanner::MemoryPlanner(RecomputeChoice recompute, std::optional<int64_t> chunk,
                             int64_t num_layers, c10::Device device, int sharers) :
    recompute_(recompute),
    chunk_(chunk),
    num_layers_(num_layers),
    device_(device),
    sharers_(sharers)
{
}

const Plan &MemoryPlanner::operator()(int64_t num_edges, const kernels::Stages &stages)
{
  if (planned_edges_ < 0 || double(num_edges) > 1.1 * double(planned_edges_)) {
    plan_ = new_plan(num_edges, stages);
    planned_edges_ = num_edges;
  }
  return plan_;
}

Plan MemoryPlanner::new_plan(int64_t num_edges, const kernels::Stages &stages) const
{
  const bool measured = recompute_ == RecomputeChoice::Auto || !chunk_;
  double available =
      measured ? available_memory(device_, sharers_) + double(stages.bytes_held()) : 0.0;
  const double rows = double(kernels::Buffer::with_room(num_edges)) * double(num_layers_);
  const auto at_work = double(stages.bytes_at_work());
  if (!device_.is_cpu()) {
    available -= double(std::min(chunk_.value_or(LARGE_CHUNK), num_edges)) * at_work;
  }
  const Keep keep = choose(rows, stages, available);
  if (chunk_) return {keep, *chunk_};
  if (device_.is_cpu()) return {keep, CHUNK_ON_CPU};
  if (keep == Keep::Nothing) return {keep, LARGE_CHUNK};
  const double more = (available - rows * double(stages.bytes_per_edge(keep))) / at_work;
  const double chunk = std::min(double(LARGE_CHUNK) + more, 1.1 * double(num_edges));
  return {keep, std::max(LARGE_CHUNK, int64_t(chunk))};
}

// The most that may be kept of so many edges in all layers.
Keep MemoryPlanner::choose(double rows, const kernels::Stages &stages, double available) const
{
  if (recompute_ == RecomputeChoice::On) return Keep::Nothing;
  if (recompute_ == RecomputeChoice::Off) return Keep::All;
  for (const Keep keep : {Keep::All, Keep::Both, Keep::First}) {
    if (rows * double(stages.bytes_per_edge(keep)) <= available) return keep;
  }
  return Keep::Nothing;
}

}    // namespace uma
