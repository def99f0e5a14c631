// SPDX-License-Identifier: GPL-2.0-only
// Where a rank computes: its device, its threads, the memory it may fill.

#ifndef UMA_PLACEMENT_H
#define UMA_PLACEMENT_H

#include "options.h"

#include <c10/core/Device.h>
#include <functional>
#include <mpi.h>

namespace uma {

struct Placement {
  c10::Device device = c10::Device(c10::kCPU);
  int ranks_on_node = 1;      // ranks that share this node's cores and memory
  int ranks_on_device = 1;    // ranks that share this rank's accelerator
  int devices_on_node = 0;    // accelerators that torch sees
  int threads = 1;            // of this rank while it computes
};

// Replicas of a '-partition' run have a 'world' each, and may share a node.
struct Partition {
  int first_rank = 0;    // of this world within all of them
  int count = 1;
};

// Collective over 'world'. Sets torch's device for this process.
// Throws std::runtime_error when the device asked for is absent.
Placement place(MPI_Comm world, Partition partition, DeviceChoice choice);

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

// Collective over 'world': one rank of each node works before the others of its node do, so that
// it alone reads from disk what they all need, and they find it in memory. Throws what work does.
void one_of_node_first(MPI_Comm world, const std::function<void()> &work);

// Bytes this rank may count on where it computes.
int64_t available_memory(const Placement &placement);

}    // namespace uma

#endif
