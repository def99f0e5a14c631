// SPDX-License-Identifier: MIT
// What the stages take from a device: its kernels, its products, and the order of edges.

#ifndef UMA_KERNELS_BACKEND_H
#define UMA_KERNELS_BACKEND_H

#include "edge_order.h"
#include "gpu_driver.h"
#include "kernels.h"
#include "node_kernels.h"
#include "packing.h"
#include "products.h"
#include "stages.h"

#include <memory>
#include <string>

namespace uma::kernels {

template <class T> class Backend {
 public:
  virtual ~Backend() = default;

  // How products take weights.
  virtual Packing packing() const = 0;

  // Before all that follow.
  virtual void prepare(const Constants<T> &constants) = 0;

  virtual Kernels<T> &kernels() = 0;
  virtual NodeKernels<T> &node_kernels() = 0;

  // out = x matrix + bias, for rows at given strides; the bias may be null.
  virtual void multiply(int rows, const T *x, int x_stride, const PackedMatrix<T> &matrix,
                        const T *bias, T *out, int out_stride) const = 0;

  // out = x matrix; 'sums' is for rows of 'width_of_sums' numbers where products go by three.
  virtual void multiply(int rows, const T *x, int x_stride, const ComplexMatrix<T> &matrix, T *sums,
                        T *out, int out_stride) const = 0;

  virtual EdgeOrder order(const Edges &edges, const Constants<T> &constants,
                          int64_t chunk) const = 0;

  // Whether the memory that products use must be known here, so that work can be recorded.
  virtual void keep_memory(bool) {}

  // Bytes that products take: of an edge that is worked on, and held.
  virtual int64_t bytes_at_work() const { return 0; }
  virtual int64_t bytes_held() const { return 0; }

  // How many blocks of edges or nodes are worked on at a time.
  virtual int concurrency() const = 0;

  // Nodes of a block, of so many.
  virtual int64_t nodes_at_a_time(int64_t num_nodes) const = 0;

  // Whether 'rotate_in_reverse' adds to the rows of both ends one after the other.
  virtual bool sums_ends_in_turn() const = 0;

  // Adds a group's rows by edge to the rows of their senders, where 'rotate_in_reverse' did not.
  virtual void sum_onto_senders(const EdgeOrder &order, const EdgeOrder::Group &group, int width,
                                const T *edge_rows, T *rows) = 0;
};

template <class T> std::unique_ptr<Backend<T>> cpu_backend(Precision precision);

// keeps: as for GpuProgram.
template <class T>
std::unique_ptr<Backend<T>> gpu_backend(at::Device device, std::shared_ptr<const GpuDriver> driver,
                                        bool keeps, Precision precision);

}    // namespace uma::kernels

#endif
