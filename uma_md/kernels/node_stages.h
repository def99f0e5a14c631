// SPDX-License-Identifier: MIT
// The stages that work on nodes, forward and in reverse: norms, updates and the readout.

#ifndef UMA_KERNELS_NODE_STAGES_H
#define UMA_KERNELS_NODE_STAGES_H

#include "backend.h"
#include "buffer.h"
#include "network.h"

#include <utility>
#include <vector>

namespace uma::kernels {

template <class T> class NodeStages {
 public:
  // All three outlive this.
  NodeStages(const Network<T> &network, const Constants<T> &constants, Backend<T> &backend);

  // Features that a layer sends, from node features x (nodes, coefficients, channels).
  at::Tensor normalize(int64_t layer, const at::Tensor &x);
  at::Tensor reverse_normalize(int64_t layer, const at::Tensor &x, const at::Tensor &g);

  // Node features after a layer, from those before it and summed messages m.
  at::Tensor update(int64_t layer, const at::Tensor &x, const at::Tensor &m);
  // Gradient with respect to x, which is that with respect to m.
  at::Tensor reverse_update(int64_t layer, const at::Tensor &x, const at::Tensor &m,
                            const at::Tensor &g);

  // Energies (nodes,) in float64, references included, and the gradient of their sum.
  std::pair<at::Tensor, at::Tensor> readout(const at::Tensor &x, const at::Tensor &numbers);

 private:
  // What a thread works in: rows by coefficient, but for scalars, gates and the head's.
  struct Workspace {
    Buffer a, u, v, g_u, c;
    Buffer scalars, gates, g_gates;
    Buffer first, second, g_hidden;
  };

  template <class Work> void for_blocks(int64_t num_nodes, const Work &work);
  void apply(const Map<T> &map, int rows, const T *x, T *out) const;
  void apply_reverse(const Map<T> &map, int rows, const T *g, T *out) const;
  void convolve(const std::vector<Map<T>> &maps, int num, const T *x, T *out) const;
  void convolve_reverse(const std::vector<Map<T>> &maps, int num, const T *g, T *out) const;
  void forward(const NodeNetwork<T> &net, int num, const T *x, const T *m, Workspace &w);
  NormArguments<T> norm(const Norm &norm, int num, const T *x, const T *m) const;
  NormReverseArguments<T> reverse_norm(const Norm &norm, int num, const T *x, const T *m) const;

  const Network<T> &network_;
  const Sizes sizes_;
  const T epsilon_;
  Backend<T> &backend_;
  NodeKernels<T> &kernels_;
  std::vector<Workspace> workspaces_;
};

}    // namespace uma::kernels

#endif
