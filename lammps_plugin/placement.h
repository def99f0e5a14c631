// SPDX-License-Identifier: GPL-2.0-only
// Where a rank computes: its device and its threads.

#ifndef UMA_PLACEMENT_H
#define UMA_PLACEMENT_H

#include "node.h"
#include "options.h"

#include <c10/core/Device.h>

namespace uma {

struct Placement {
  c10::Device device = c10::Device(c10::kCPU);
  int sharers = 1;    // ranks that share the memory of this rank's device, itself included
  int threads = 1;    // of this rank while it computes
};

// A device for this rank of a node, and an equal share of the node's cores. Sets torch's device for
// this process. Throws std::runtime_error when the device asked for is absent.
Placement place(const Node &node, DeviceChoice choice);

// OpenMP's number of threads in this process, torch's and LAMMPS's alike: 'ours' while this object
// lives, 'theirs' afterwards. LAMMPS sets its own ('package omp') at times of its choosing.
class Threads {
 public:
  Threads(int ours, int theirs);
  ~Threads();
  Threads(const Threads &) = delete;
  Threads &operator=(const Threads &) = delete;

 private:
  int theirs_;
};

}    // namespace uma

#endif
