// SPDX-License-Identifier: MIT
// Stages whose work on a GPU is recorded and repeated, which spares the host most of its time.
//
// A recording has fixed addresses and sizes. So edges are padded to a number that seldom changes,
// the results of a stage stay where they were, and arguments that lie elsewhere are copied to where
// they were. A stage is recorded when it is called for the second time with the same sizes: the
// first call takes the memory that all later ones use. Calls on torch's default stream, which
// cannot be recorded, are made as without recordings. Where work is recorded, edges are not told
// apart: it is little, and to compute it in runs would take longer than the messages beside it.

#ifndef UMA_KERNELS_RECORDED_STAGES_H
#define UMA_KERNELS_RECORDED_STAGES_H

#include "gpu_graph.h"
#include "stages.h"

#include <array>
#include <functional>
#include <map>

namespace uma::kernels {

class RecordedStages final : public Stages {
 public:
  // graphs: On or Auto, which records where the host is likely to be the slower one.
  RecordedStages(std::unique_ptr<Stages> stages, at::Device device,
                 std::shared_ptr<const GpuDriver> driver, Graphs graphs);

  int64_t bytes_per_edge(Keep keep) const override { return stages_->bytes_per_edge(keep); }
  int64_t bytes_at_work() const override { return stages_->bytes_at_work(); }
  int64_t bytes_held() const override { return stages_->bytes_held(); }
  int64_t recordings() const override;

  void set_edges(const Edges &edges, int64_t chunk) override;
  at::Tensor embedding() override;
  int64_t inner_runs() const override { return stages_->inner_runs(); }
  at::Tensor messages(int64_t layer, const at::Tensor &h, Keep keep, int64_t run,
                      const at::Tensor &m) override;
  at::Tensor reverse_messages(int64_t layer, const at::Tensor &h, const at::Tensor &g, int64_t run,
                              const at::Tensor &g_h) override;
  void reverse_embedding(const at::Tensor &g) override;
  at::Tensor gradients() override { return stages_->gradients(); }
  at::Tensor normalize(int64_t layer, const at::Tensor &x) override;
  at::Tensor reverse_normalize(int64_t layer, const at::Tensor &x, const at::Tensor &g) override;
  at::Tensor update(int64_t layer, const at::Tensor &x, const at::Tensor &m) override;
  at::Tensor reverse_update(int64_t layer, const at::Tensor &x, const at::Tensor &m,
                            const at::Tensor &g) override;
  std::pair<at::Tensor, at::Tensor> readout(const at::Tensor &x,
                                            const at::Tensor &atomic_numbers) override
  {
    return stages_->readout(x, atomic_numbers);
  }

 private:
  enum class Stage {
    Embedding,
    Normalize,
    Messages,
    Update,
    ReverseUpdate,
    ReverseMessages,
    ReverseNormalize,
    ReverseEmbedding,
  };
  using Key = std::pair<Stage, int64_t>;    // and layer
  using Arguments = std::vector<at::Tensor>;
  using Work = std::function<at::Tensor(const Arguments &)>;

  struct Argument {
    at::Tensor place;
    bool is_result;    // of another recording: else a copy
  };

  struct Recording {
    Recording(std::shared_ptr<const GpuDriver> driver, at::Device device) :
        graph(std::move(driver), device)
    {
    }

    GpuGraph graph;
    std::vector<Argument> arguments;
    at::Tensor result;    // undefined for stages that have none
  };

  at::Tensor run(const Key &key, const Arguments &arguments, const Work &work);
  at::Tensor record(const Key &key, const Arguments &arguments, const Work &work);
  static bool takes(const Recording &recording, const Arguments &arguments);
  void start(Recording &recording, const Work &work) const;
  Argument settle(const at::Tensor &argument) const;
  int64_t room(int64_t num_edges) const;

  std::unique_ptr<Stages> stages_;
  at::Device device_;
  std::shared_ptr<const GpuDriver> driver_;
  Graphs graphs_;
  bool records_ = false;              // for the edges at hand
  std::array<int64_t, 4> sizes_{};    // room for edges, rows, owned rows, chunk
  Keep keep_ = Keep::All;
  std::map<Key, std::unique_ptr<Recording>> recordings_;    // null after a first call
};

}    // namespace uma::kernels

#endif
