// SPDX-License-Identifier: GPL-2.0-only
// How much memory evaluations need, how much there is, and what follows for them.
// uma_md/memory.py is the same, name by name.

#ifndef UMA_MEMORY_PLANNER_H
#define UMA_MEMORY_PLANNER_H

#include "options.h"

#include "kernels/stages.h"

#include <c10/core/Device.h>
#include <cstdint>
#include <optional>

namespace uma {

// Bytes that a rank may count on, of 'sharers' that share the device's memory: half of what is
// free on a host or on a shared accelerator, 0.8 of what is free on an accelerator of its own. What
// torch keeps in its cache is free.
double available_memory(c10::Device device, int sharers);

struct Plan {
  kernels::Keep keep = kernels::Keep::Nothing;    // of messages for the reverse sweep
  int64_t chunk = 1;                              // edges handled at a time
};

// What is chosen stays until there are a tenth more edges than it was chosen for, so that the steps
// of a run are alike.
class MemoryPlanner {
 public:
  // chunk: by device and memory where it is not given.
  MemoryPlanner(RecomputeChoice recompute, std::optional<int64_t> chunk, int64_t num_layers,
                c10::Device device, int sharers);

  // The plan for a graph of so many edges, of which the stages keep what they say.
  const Plan &operator()(int64_t num_edges, const kernels::Stages &stages);
  const Plan &latest() const { return plan_; }

 private:
  Plan new_plan(int64_t num_edges, const kernels::Stages &stages) const;
  kernels::Keep choose(double rows, const kernels::Stages &stages, double available) const;

  RecomputeChoice recompute_;
  std::optional<int64_t> chunk_;
  int64_t num_layers_;
  c10::Device device_;
  int sharers_;
  int64_t planned_edges_ = -1;
  Plan plan_;
};

}    // namespace uma

#endif
