// SPDX-License-Identifier: GPL-2.0-only
// The exported model: one TorchScript file whose methods are the stages of the network.

#ifndef UMA_SCRIPTED_MODEL_H
#define UMA_SCRIPTED_MODEL_H

#include "node_ranks.h"

#include "kernels/stages.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace torch::jit {
struct Module;
}

namespace uma {

// What 'uma-md export' wrote beside the network.
struct Metadata {
  std::string model_id, task, dtype;
  int64_t charge = 0, spin = 0;
  double cutoff = 0.0;                  // angstrom
  std::vector<std::string> elements;    // by atomic number from H, empty where not known
  std::optional<std::map<std::string, int64_t>> composition;    // merged for it at export
  bool composition_exact = false;                               // else only its ratios matter
  bool supports_single_atoms = true;
  int64_t max_neighbors = 0;     // of one atom within the cutoff
  int64_t bytes_per_edge = 0;    // kept by one edge of one layer for the reverse sweep
};

class ScriptedModel {
 public:
  // Collective over the node, whose first rank reads the file; the others get it without experts.
  // Throws std::runtime_error with a sentence when the file cannot serve. Runs none of its code
  // unless 'uma-md export' wrote it, or the user trusts it.
  ScriptedModel(const std::string &file, at::Device device, bool trusted,
                std::shared_ptr<const NodeRanks> node);
  ~ScriptedModel();

  const Metadata &metadata() const { return metadata_; }
  at::ScalarType dtype() const { return dtype_; }
  at::Device device() const { return device_; }
  int64_t lmax() const { return lmax_; }
  int64_t channels() const { return channels_; }    // of node features
  int64_t num_layers() const { return num_layers_; }
  int64_t num_balanced() const { return num_balanced_; }
  int64_t max_num_elements() const { return max_num_elements_; }

  // Collective over the node, whose first rank merges. counts: number of atoms of the whole system
  // per atomic number. Before any stage, and when these change.
  void merge(const at::Tensor &counts, int64_t charge, int64_t spin);

  // Whether the file hands out its weights, as those of older versions do not.
  bool has_weights() const;
  // The merged weights, for the kernels.
  kernels::Weights weights();

  // The stages; shapes and meaning are those of uma_md/model.py.
  at::Tensor embed(const at::Tensor &atomic_numbers);
  at::Tensor edge_embedding(const at::Tensor &vectors, const at::Tensor &sender_numbers,
                            const at::Tensor &receiver_numbers);
  at::Tensor normalize(int64_t layer, const at::Tensor &x);
  at::Tensor messages(int64_t layer, const at::Tensor &h_senders, const at::Tensor &h_receivers,
                      const at::Tensor &vectors, const at::Tensor &sender_numbers,
                      const at::Tensor &receiver_numbers);
  at::Tensor update(int64_t layer, const at::Tensor &x, const at::Tensor &m);
  at::Tensor channel_sums(const at::Tensor &x);
  at::Tensor balance(const at::Tensor &x, const at::Tensor &sums, int64_t natoms);
  at::Tensor targets() const;    // what the balanced channels sum to, (B,), float64
  at::Tensor readout(const at::Tensor &x, const at::Tensor &atomic_numbers);

 private:
  at::Tensor call(const char *method, std::vector<c10::IValue> arguments);
  at::Tensor one_system(const at::Tensor &x) const;
  void share_merged();

  at::Device device_;
  std::shared_ptr<const NodeRanks> node_;
  std::unique_ptr<torch::jit::Module> module_;
  Metadata metadata_;
  at::ScalarType dtype_ = at::kFloat;
  int64_t lmax_ = 0, channels_ = 0;
  int64_t num_layers_ = 0, num_balanced_ = 0, max_num_elements_ = 0;
};

}    // namespace uma

#endif
