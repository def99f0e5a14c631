// SPDX-License-Identifier: GPL-2.0-only
// How much memory evaluations need, how much there is, and what follows for them.
// uma_md/memory.py is the same, name by name.

#ifndef UMA_MEMORY_PLANNER_H
#define UMA_MEMORY_PLANNER_H

#include "options.h"

#include <c10/core/Device.h>
#include <cstdint>
#include <optional>

namespace uma {

// Bytes that a rank may count on, of 'sharers' that share the device's memory: half of what is
// free on a host or on a shared accelerator, 0.8 of what is free on an accelerator of its own. What
// torch keeps in its cache is free.
double available_memory(c10::Device device, int sharers);

struct Plan {
  bool keep = false;    // the graph of all messages for the reverse sweep, or recompute them
  int64_t chunk = 1;    // edges handled at a time
};

// What is chosen stays until there are a tenth more edges than it was chosen for, so that the steps
// of a run are alike.
class MemoryPlanner {
 public:
  // chunk: by device and memory where it is not given. bytes_per_edge: kept by an edge in a layer.
  MemoryPlanner(RecomputeChoice recompute, std::optional<int64_t> chunk, int64_t bytes_per_edge,
                int64_t num_layers, c10::Device device, int sharers);

  // The plan for a graph of so many edges.
  const Plan &operator()(int64_t num_edges);
  const Plan &latest() const { return plan_; }

 private:
  Plan new_plan(int64_t num_edges) const;

  RecomputeChoice recompute_;
  std::optional<int64_t> chunk_;
  double bytes_per_edge_;
  int64_t num_layers_;
  c10::Device device_;
  int sharers_;
  int64_t planned_edges_ = -1;
  Plan plan_;
};

}    // namespace uma

#endif
