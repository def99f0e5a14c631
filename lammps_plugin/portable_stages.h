// SPDX-License-Identifier: GPL-2.0-only
// The stages by the exported network's own operators, edges in runs, differentiated by
// autograd. PortableStages of uma_md/portable_stages.py is the same, name by name.

#ifndef UMA_PORTABLE_STAGES_H
#define UMA_PORTABLE_STAGES_H

#include "scripted_model.h"
#include "trace.h"

#include "kernels/stages.h"

#include <map>
#include <utility>
#include <vector>

namespace uma {

class PortableStages final : public kernels::Stages {
 public:
  explicit PortableStages(ScriptedModel &model) : model_(model) {}

  int64_t bytes_per_edge(kernels::Keep keep) const override;
  int64_t bytes_at_work() const override;
  void set_edges(const kernels::Edges &edges, int64_t chunk) override;
  at::Tensor embedding() override;
  int64_t inner_runs() const override { return inner_chunks_; }
  at::Tensor messages(int64_t layer, const at::Tensor &h, kernels::Keep keep, int64_t run,
                      const at::Tensor &m) override;
  at::Tensor reverse_messages(int64_t layer, const at::Tensor &h, const at::Tensor &g, int64_t run,
                              const at::Tensor &g_h) override;
  void reverse_embedding(const at::Tensor &g) override;
  at::Tensor gradients() override { return gradients_; }
  at::Tensor normalize(int64_t layer, const at::Tensor &x) override;
  at::Tensor reverse_normalize(int64_t layer, const at::Tensor &x, const at::Tensor &g) override;
  at::Tensor update(int64_t layer, const at::Tensor &x, const at::Tensor &m) override;
  at::Tensor reverse_update(int64_t layer, const at::Tensor &x, const at::Tensor &m,
                            const at::Tensor &g) override;
  std::pair<at::Tensor, at::Tensor> readout(const at::Tensor &x,
                                            const at::Tensor &atomic_numbers) override;

 private:
  // A run of edges, and what every edge stage takes of them.
  struct Chunk {
    int64_t first, count;
    at::Tensor senders, receivers, vectors, sender_numbers, receiver_numbers;
  };

  void add_chunks(const kernels::Edges &edges, int64_t first, int64_t end, int64_t size);
  std::pair<int64_t, int64_t> chunks_of(int64_t run) const;    // first and end
  at::Tensor zeros() const;                                    // of the owned rows
  Trace traced_messages(int64_t layer, const at::Tensor &h, const Chunk &chunk);

  ScriptedModel &model_;
  int64_t num_owned_ = 0;
  std::vector<Chunk> chunks_;
  int64_t inner_chunks_ = 0;                             // of inner edges, a run each
  std::map<std::pair<int64_t, int64_t>, Trace> kept_;    // messages by layer and chunk
  at::Tensor gradients_;
};

}    // namespace uma

#endif
