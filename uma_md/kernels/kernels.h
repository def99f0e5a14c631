// SPDX-License-Identifier: MIT
// The element-wise kernels of the stages on edges, as a CPU or a GPU offers them.

#ifndef UMA_KERNELS_KERNELS_H
#define UMA_KERNELS_KERNELS_H

#include "edge.h"

namespace uma::kernels {

// A run of edges, which are sorted by receiver, and the receivers that they may have. Arrays by
// edge begin at the first edge of the run, arrays by row (h, m and their gradients) at row 0.
template <class T> struct Block {
  int first_receiver, end_receiver;
  const int *starts;    // first edge of each receiver, counted through all edges
  int first_edge, num_edges;
  const int *senders, *receivers;                  // rows
  const int *sender_numbers, *receiver_numbers;    // atomic numbers
  EdgeArrays<T> edges;
  // On a GPU: first of each row's edges as a sender in 'by_sender', which counts through all edges.
  int num_rows;
  const int *sender_starts, *by_sender;
};

// One hidden layer of a radial network: norm and SiLU of rows x of 'width'.
template <class T> struct HiddenLayer {
  int width;
  const T *sender_table, *receiver_table;    // by atomic number, added to the row, or null
  const T *weight, *bias;
};

template <class T> class Kernels {
 public:
  virtual ~Kernels() = default;

  // Distances, envelopes, Gaussians and rotations of 'num' edges from their vectors.
  virtual void geometry(const Constants<T> &constants, const T *centers, const WignerTerm *terms,
                        int num_terms, const T *vectors, int num, EdgeArrays<T> edges) = 0;

  // Gradients with respect to the vectors, from what the stages have gathered.
  virtual void gradients(const Constants<T> &constants, int num, EdgeArrays<T> edges,
                         T *gradients) = 0;

  // Rows x become normalized, 'scales' what they were multiplied with.
  virtual void hidden(const HiddenLayer<T> &layer, const Block<T> &block, T epsilon, T *x,
                      T *scales, T *out) = 0;
  virtual void hidden_reverse(const HiddenLayer<T> &layer, int num, const T *normalized,
                              const T *scales, T *g) = 0;
  virtual void basis_reverse(const Constants<T> &constants, const T *centers, int num,
                             EdgeArrays<T> edges, const T *g_basis) = 0;

  // Both ends' features into the frames, scaled.
  virtual void rotate_in(const Constants<T> &constants, const Block<T> &block, const T *h,
                         const T *scale, T *x) = 0;
  // Sets the gradients of the scale, and adds to those of the receivers' rows. Those of the
  // senders' rows are set edge by edge in 'sender_rows' on a CPU, for 'sum_onto_senders', and added
  // to 'g_senders' on a GPU.
  virtual void rotate_in_reverse(const Constants<T> &constants, const Block<T> &block, const T *h,
                                 const T *scale, const T *g_x, T *g_scale, T *sender_rows,
                                 T *g_receivers, T *g_senders) = 0;

  virtual void gate(const Constants<T> &constants, int num, const T *p, T *q) = 0;
  virtual void gate_reverse(const Constants<T> &constants, int num, const T *p, const T *g_q,
                            T *g_p) = 0;

  // Out of the frames, onto the receivers' rows, times the envelope and 'factor'. Orders up to
  // 'mmax' in the columns of 'layout'.
  virtual void rotate_out(const Constants<T> &constants, const Layout &layout, int mmax, T factor,
                          const Block<T> &block, const T *y, T *rows) = 0;
  virtual void rotate_out_reverse(const Constants<T> &constants, const Layout &layout, int mmax,
                                  T factor, const Block<T> &block, const T *y, const T *g_rows,
                                  T *g_y) = 0;

  // Adds rows by edge to the rows of their senders, on a CPU: 'order' holds the edges of a run
  // sorted by sender, and the runs of one sender begin at 'starts'.
  virtual void sum_onto_senders(int num_senders, const int *starts, const int *order,
                                const int *senders, int width, const T *edge_rows, T *rows) = 0;
};

}    // namespace uma::kernels

#endif
