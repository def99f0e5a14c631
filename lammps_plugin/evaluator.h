// SPDX-License-Identifier: GPL-2.0-only
// Energies and their gradients: the stages of a model driven forward and in reverse.
// uma_md/evaluator.py is the same, name by name.

#ifndef UMA_EVALUATOR_H
#define UMA_EVALUATOR_H

#include "edge_graph.h"
#include "halo_exchange.h"
#include "memory_planner.h"
#include "scripted_model.h"

#include <functional>
#include <utility>
#include <vector>

namespace uma {

struct Evaluation {
  at::Tensor energies;     // (owned,), eV, float64
  at::Tensor gradients;    // (edges, 3), eV/angstrom, float64: dE/dvector
};

class Evaluator {
 public:
  Evaluator(ScriptedModel &model, HaloExchange &exchange);

  // Collective. 'plan' says whether messages are kept, and how many edges are handled at a time;
  // 'natoms' counts the atoms of the whole system.
  Evaluation operator()(const EdgeGraph &graph, const Plan &plan, int64_t natoms);

 private:
  using Tensors = std::vector<at::Tensor>;

  // A value, and the leaves that it was computed from with gradients on.
  struct Trace {
    at::Tensor value;
    Tensors leaves;
  };

  // What the forward sweep leaves of a layer for the reverse sweep.
  struct LayerTrace {
    at::Tensor x, h, m;
    at::Tensor updated, sums;    // defined for models with balanced channels
    std::vector<Trace> kept;     // messages, chunk by chunk
  };

  // A run of edges, and what every edge stage takes of them.
  struct Chunk {
    int64_t first, count;
    at::Tensor senders, receivers, vectors, sender_numbers, receiver_numbers;
  };

  static Trace trace(const std::function<at::Tensor(const Tensors &)> &function,
                     const Tensors &inputs);
  static Tensors pull_back(const Trace &trace, const at::Tensor &gradient);

  std::vector<Chunk> chunks(const EdgeGraph &graph) const;
  at::Tensor forward(const EdgeGraph &graph, bool keep);
  at::Tensor embed(const EdgeGraph &graph, const std::vector<Chunk> &chunks);
  void gather_messages(const std::vector<Chunk> &chunks, int64_t layer, LayerTrace &trace,
                       bool keep);
  at::Tensor update(int64_t layer, LayerTrace &trace, const at::Tensor &x);
  std::pair<at::Tensor, at::Tensor> readout(const EdgeGraph &graph, const at::Tensor &x);
  Trace traced_messages(int64_t layer, const at::Tensor &h, const Chunk &chunk);
  at::Tensor reverse(const EdgeGraph &graph, at::Tensor g);
  at::Tensor reverse_layer(const std::vector<Chunk> &chunks, int64_t layer, LayerTrace &trace,
                           const at::Tensor &g, at::Tensor &gradients);
  Tensors reverse_update(int64_t layer, const LayerTrace &trace, at::Tensor g);
  at::Tensor reverse_balance(const LayerTrace &trace, const at::Tensor &g);
  at::Tensor reverse_messages(const std::vector<Chunk> &chunks, int64_t layer, LayerTrace &trace,
                              const at::Tensor &g_m, at::Tensor &gradients);
  void reverse_edge_embedding(const std::vector<Chunk> &chunks, const at::Tensor &g,
                              at::Tensor &gradients);

  ScriptedModel &model_;
  HaloExchange &exchange_;
  int64_t chunk_ = 1;
  int64_t natoms_ = 0;
  std::vector<LayerTrace> traces_;
};

}    // namespace uma

#endif
