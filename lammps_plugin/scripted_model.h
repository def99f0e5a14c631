// SPDX-License-Identifier: GPL-2.0-only
// The exported model: one TorchScript file whose methods are the stages of the network.

#ifndef UMA_SCRIPTED_MODEL_H
#define UMA_SCRIPTED_MODEL_H

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <torch/script.h>
#include <vector>

namespace uma {

// What 'uma-md export' wrote beside the network.
struct Metadata {
  std::string model_id, task, dtype;
  int64_t charge = 0, spin = 0;
  double cutoff = 0.0;                  // angstrom
  std::vector<std::string> elements;    // in order of atomic number, H first
  std::optional<std::map<std::string, int64_t>> composition;    // merged for it at export
  bool composition_exact = false;                               // else only its ratios matter
  bool supports_single_atoms = true;
  int64_t max_neighbors = 0;     // of one atom within the cutoff
  int64_t bytes_per_edge = 0;    // kept by one edge of one layer for the reverse sweep
};

class ScriptedModel {
 public:
  // Throws std::runtime_error with a sentence when the file cannot serve.
  ScriptedModel(const std::string &file, torch::Device device);

  const Metadata &metadata() const { return metadata_; }
  torch::ScalarType dtype() const { return dtype_; }
  torch::Device device() const { return device_; }
  int64_t num_layers() const { return num_layers_; }
  int64_t num_balanced() const { return num_balanced_; }
  int64_t max_num_elements() const { return max_num_elements_; }

  // Number of atoms of the whole system per atomic number: before any stage, and when it changes.
  void merge(const torch::Tensor &counts, int64_t charge, int64_t spin);

  // The stages; shapes and meaning are those of uma_md/model.py.
  torch::Tensor embed(const torch::Tensor &atomic_numbers);
  torch::Tensor edge_embedding(const torch::Tensor &vectors, const torch::Tensor &sender_numbers,
                               const torch::Tensor &receiver_numbers);
  torch::Tensor normalize(int64_t layer, const torch::Tensor &x);
  torch::Tensor messages(int64_t layer, const torch::Tensor &h_senders,
                         const torch::Tensor &h_receivers, const torch::Tensor &vectors,
                         const torch::Tensor &sender_numbers,
                         const torch::Tensor &receiver_numbers);
  torch::Tensor update(int64_t layer, const torch::Tensor &x, const torch::Tensor &m);
  torch::Tensor channel_sums(const torch::Tensor &x);
  torch::Tensor balance(const torch::Tensor &x, const torch::Tensor &sums, int64_t natoms);
  torch::Tensor readout(const torch::Tensor &x, const torch::Tensor &atomic_numbers);

 private:
  torch::Tensor call(const char *method, std::vector<torch::IValue> arguments);
  torch::Tensor one_system(const torch::Tensor &x) const;

  torch::Device device_;
  torch::jit::Module module_;
  Metadata metadata_;
  torch::ScalarType dtype_ = torch::kFloat32;
  int64_t num_layers_ = 0, num_balanced_ = 0, max_num_elements_ = 0;
};

}    // namespace uma

#endif
