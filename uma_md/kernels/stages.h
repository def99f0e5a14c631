// SPDX-License-Identifier: MIT
// The stages of a network, forward and in reverse: messages along edges, and what nodes do between
// them. What they are is in uma_md/nn; docs/kernels.md has their mathematics.

#ifndef UMA_KERNELS_STAGES_H
#define UMA_KERNELS_STAGES_H

#include "precision.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace uma::kernels {

// What the forward sweep keeps of each edge and layer for the reverse sweep: nothing, the output of
// the first convolution or of both; All is what the layer's radial network gives, too.
enum class Keep { Nothing, First, Both, All };

// Whether work on a GPU is recorded and repeated, as CUDA graphs: Auto records small systems.
enum class Graphs { Off, Auto, On };

// Merged weights as the network hands them out: edge_weights, message_weights, node_weights and
// readout_weights of uma_md/model.py.
struct Weights {
  int64_t lmax;
  double cutoff;    // angstrom
  std::vector<at::Tensor> edges;
  std::vector<std::vector<at::Tensor>> layers, nodes;    // by layer
  std::vector<at::Tensor> readout;
};

struct Edges {
  at::Tensor vectors;               // (edges, 3), angstrom, in the model's type
  at::Tensor senders, receivers;    // (edges,) int32 or int64, rows of h
  at::Tensor atomic_numbers;        // (rows,) int64
  int64_t num_owned;                // rows that receive
  int64_t room = 0;                 // of edges: padding is worked on, and counts for nothing
  // Edges that come first and whose senders are rows that receive, too: inner ones. The others'
  // senders are not. Negative where edges are not told apart.
  int64_t num_inner = -1;
};

class __attribute__((visibility("default"))) Stages {
 public:
  // Whether there are kernels for a device.
  static bool supports(at::Device device);

  // What multiplies bfloat16 on this processor, "AMX" or "AVX-512"; null where nothing does.
  static const char *bf16_instructions();

  // driver: a library that stands in for a GPU's driver and compiler, for tests.
  // Throws std::runtime_error for weights or a device that there are no kernels for.
  static std::unique_ptr<Stages> make(const Weights &weights, const std::string &driver = "",
                                      Precision precision = Precision::Float32,
                                      Graphs graphs = Graphs::Off);
  virtual ~Stages() = default;

  // Bytes that an edge keeps in each layer.
  virtual int64_t bytes_per_edge(Keep keep) const = 0;

  // Bytes that an edge of a chunk takes while this is worked on.
  virtual int64_t bytes_at_work() const = 0;

  // Bytes that are held from one evaluation to the next, for both.
  virtual int64_t bytes_held() const { return 0; }

  // Stages that are recorded. The result of one is then overwritten when the stage is called again.
  virtual int64_t recordings() const { return 0; }

  // New edges: computes their geometry, and forgets what was kept and gathered.
  virtual void set_edges(const Edges &edges, int64_t chunk) = 0;

  // What edges add to their receivers' first features, (owned, coefficients, channels).
  virtual at::Tensor embedding() = 0;

  // Messages are computed in runs of edges, so that rows can travel beside them: these ones, of
  // inner edges, and one of all others. There are none of inner edges where edges are not told
  // apart.
  virtual int64_t inner_runs() const = 0;

  // Summed messages of a layer, (owned, coefficients, channels), from normalized features h (rows,
  // ...): those of a run, added to the sums 'm' of the runs before it, undefined for the first.
  // Runs below 'inner_runs' read no remote row of h.
  virtual at::Tensor messages(int64_t layer, const at::Tensor &h, Keep keep, int64_t run,
                              const at::Tensor &m) = 0;

  // Gradient with respect to h, from that with respect to the layer's summed messages: that of a
  // run, added to the sums 'g_h' of the runs before it, undefined for the first, which is the last
  // run of the forward sweep. Runs below 'inner_runs' leave its remote rows alone.
  virtual at::Tensor reverse_messages(int64_t layer, const at::Tensor &h, const at::Tensor &g,
                                      int64_t run, const at::Tensor &g_h) = 0;
  virtual void reverse_embedding(const at::Tensor &g) = 0;

  // Derivative of the energy with respect to each edge's vector, (edges, 3), after the reverse of
  // all stages.
  virtual at::Tensor gradients() = 0;

  // Normalized features h that a layer sends, from node features x, both (nodes, coefficients,
  // channels).
  virtual at::Tensor normalize(int64_t layer, const at::Tensor &x) = 0;
  virtual at::Tensor reverse_normalize(int64_t layer, const at::Tensor &x, const at::Tensor &g) = 0;

  // Node features after a layer, from those before it and summed messages m.
  virtual at::Tensor update(int64_t layer, const at::Tensor &x, const at::Tensor &m) = 0;
  // Gradient with respect to x, which is that with respect to m.
  virtual at::Tensor reverse_update(int64_t layer, const at::Tensor &x, const at::Tensor &m,
                                    const at::Tensor &g) = 0;

  // Energies of atoms of these atomic numbers, eV, (nodes,) in float64, references included, and
  // the gradient of their sum with respect to x.
  virtual std::pair<at::Tensor, at::Tensor> readout(const at::Tensor &x,
                                                    const at::Tensor &atomic_numbers) = 0;
};

}    // namespace uma::kernels

#endif
