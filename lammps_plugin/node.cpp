// SPDX-License-Identifier: GPL-2.0-only

#include "node.h"

#include "mpi_errors.h"

#include <algorithm>
#include <string>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#endif

namespace uma {
namespace {

// Cores that any rank of the node may run on: ranks bound to different cores add up.
int count_cores(MPI_Comm node)
{
#if defined(__linux__)
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof(cores), &cores);
  or_end(MPI_Allreduce(MPI_IN_PLACE, &cores, sizeof(cores), MPI_BYTE, MPI_BOR, node));
  return std::max(1, CPU_COUNT(&cores));
#else
  (void) node;
  return std::max(1u, std::thread::hardware_concurrency());
#endif
}

// The identities of every rank: all have the same length.
Visible gather(const std::vector<std::string> &mine, MPI_Comm node)
{
  int size = 0;
  MPI_Comm_size(node, &size);
  std::string text;
  for (const auto &identity : mine) text += identity;
  const int sent[2] = {int(mine.size()), int(text.size())};
  std::vector<int> counts(2 * size), lengths(size), first(size + 1, 0);
  or_end(MPI_Allgather(sent, 2, MPI_INT, counts.data(), 2, MPI_INT, node));
  for (int rank = 0; rank < size; rank++) {
    lengths[rank] = counts[2 * rank + 1];
    first[rank + 1] = first[rank] + lengths[rank];
  }
  std::string all(first[size], '\0');
  or_end(MPI_Allgatherv(text.data(), sent[1], MPI_BYTE, all.data(), lengths.data(), first.data(),
                        MPI_BYTE, node));
  Visible visible(size);
  for (int rank = 0; rank < size; rank++) {
    const int number = counts[2 * rank];
    for (int k = 0; k < number; k++) {
      const int length = lengths[rank] / number;
      visible[rank].push_back(all.substr(first[rank] + k * length, length));
    }
  }
  return visible;
}

}    // namespace

Node survey(MPI_Comm ranks)
{
  Node here;
  MPI_Comm node;
  or_end(MPI_Comm_split_type(ranks, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
  MPI_Comm_rank(node, &here.rank);
  here.cores = count_cores(node);
  here.visible = gather(device_identities(), node);
  MPI_Comm_free(&node);
  return here;
}

Node repeated(const Node &node, int partitions, int index)
{
  Node all = node;
  all.rank = index * node.size() + node.rank;
  for (int k = 1; k < partitions; k++) {
    all.visible.insert(all.visible.end(), node.visible.begin(), node.visible.end());
  }
  return all;
}

}    // namespace uma
