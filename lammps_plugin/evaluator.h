// SPDX-License-Identifier: GPL-2.0-only
// Energies and their gradients: the stages of a model driven forward and in reverse.
// uma_md/evaluator.py is the same, name by name.

#ifndef UMA_EVALUATOR_H
#define UMA_EVALUATOR_H

#include "edge_graph.h"
#include "halo_exchange.h"
#include "load.h"
#include "memory_planner.h"
#include "scripted_model.h"

#include "kernels/stages.h"

#include <vector>

namespace uma {

struct Evaluation {
  at::Tensor energies;     // (owned,), eV, float64
  at::Tensor gradients;    // (stages, 3), eV/angstrom, float64: dE/dvector
};

class Evaluator {
 public:
  Evaluator(ScriptedModel &model, HaloExchange &exchange);

  // Of the last evaluation, but for the whole step.
  const Load &load() const { return load_; }

  // Collective. 'plan' says what is kept of messages, and how many edges are handled at a time;
  // 'natoms' counts the atoms of the whole system.
  Evaluation operator()(const EdgeGraph &graph, kernels::Stages &stages, const Plan &plan,
                        int64_t natoms);

 private:
  // What the forward sweep leaves of a layer for the reverse sweep.
  struct LayerTrace {
    at::Tensor x, h, m;
  };

  template <class Work> auto exchanged(const Work &work);
  at::Tensor forward(const EdgeGraph &graph, kernels::Stages &stages, kernels::Keep keep);
  at::Tensor messages(kernels::Stages &stages, int64_t layer, Transfer &transfer,
                      kernels::Keep keep);
  at::Tensor update(kernels::Stages &stages, int64_t layer, const LayerTrace &trace);
  void reverse(kernels::Stages &stages, at::Tensor g);
  at::Tensor reverse_layer(kernels::Stages &stages, int64_t layer, const LayerTrace &trace,
                           const at::Tensor &g);
  at::Tensor reverse_messages(kernels::Stages &stages, int64_t layer, const at::Tensor &h,
                              const at::Tensor &g);
  at::Tensor reverse_update(kernels::Stages &stages, int64_t layer, const LayerTrace &trace,
                            at::Tensor g);
  at::Tensor sum(const at::Tensor &part);
  void balance(at::Tensor &x, const at::Tensor &sums);
  void reverse_balance(at::Tensor &g);

  ScriptedModel &model_;
  HaloExchange &exchange_;
  int64_t natoms_ = 0;
  Load load_;
  std::vector<LayerTrace> traces_;
};

}    // namespace uma

#endif
