// SPDX-License-Identifier: GPL-2.0-only
// What the ranks of a node know of each other. Needs no torch.

#ifndef UMA_NODE_H
#define UMA_NODE_H

#include "devices.h"

#include <mpi.h>

namespace uma {

struct Node {
  int rank = 0;       // of this rank within the node
  int cores = 1;      // that any of its ranks may use
  Visible visible;    // accelerators of each of its ranks; none where they have no UUIDs

  int size() const { return int(visible.size()); }
};

// Collective over 'ranks': those of them that share this rank's memory.
Node survey(MPI_Comm ranks);

// A node of so many partitions, of which this one is 'index' and all are alike.
Node repeated(const Node &node, int partitions, int index);

}    // namespace uma

#endif
