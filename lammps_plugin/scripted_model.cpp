// SPDX-License-Identifier: GPL-2.0-only

#include "scripted_model.h"

#include "archive_checksums.h"
#include "host_memory.h"
#include "scripted_code.h"

#include "json.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <exception>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/headeronly/version.h>
#include <utility>

using json = LAMMPS_NS::json;

namespace uma {
namespace {

constexpr int64_t NEWEST_FORMAT = 1;

[[noreturn]] void refuse(const std::string &file, const std::string &found)
{
  throw std::runtime_error("pair_coeff: FILE must be a model written by 'uma-md export', but '" +
                           file + "' " + found + "; export the checkpoint and name that file");
}

// Does work on a file, and refuses the file when the work fails.
template <typename Work> auto or_refuse(const std::string &file, const Work &work)
{
  try {
    return work();
  } catch (const std::bad_alloc &) {
    throw;
  } catch (const std::exception &) {
    refuse(file, "is not a TorchScript file that torch " TORCH_VERSION " can read");
  }
}

bool is_valid(const Metadata &metadata)
{
  bool valid = std::isfinite(metadata.cutoff) && metadata.cutoff > 0.0 && metadata.cutoff <= 100.0;
  valid = valid && (metadata.dtype == "float32" || metadata.dtype == "float64");
  valid = valid && !metadata.elements.empty() && metadata.elements.size() <= 118;
  valid = valid && metadata.max_neighbors > 0 && metadata.bytes_per_edge > 0;
  if (metadata.composition) {
    for (const auto &[symbol, count] : *metadata.composition) valid = valid && count > 0;
  }
  return valid;
}

Metadata read_metadata(const json &record)
{
  Metadata metadata;
  record.at("model_id").get_to(metadata.model_id);
  record.at("task").get_to(metadata.task);
  record.at("dtype").get_to(metadata.dtype);
  record.at("charge").get_to(metadata.charge);
  record.at("spin").get_to(metadata.spin);
  record.at("cutoff").get_to(metadata.cutoff);
  record.at("elements").get_to(metadata.elements);
  const json &composition = record.at("composition");
  if (!composition.is_null()) {
    metadata.composition = composition.get<std::map<std::string, int64_t>>();
  }
  record.at("composition_exact").get_to(metadata.composition_exact);
  record.at("supports_single_atoms").get_to(metadata.supports_single_atoms);
  record.at("max_neighbors").get_to(metadata.max_neighbors);
  record.at("bytes_per_edge").get_to(metadata.bytes_per_edge);
  return metadata;
}

void check_format(const std::string &file, const json &record)
{
  if (record.value("format", "") != "uma-md") refuse(file, "has another format");
  const auto version = record.value("format_version", int64_t(0));
  if (version <= NEWEST_FORMAT) return;
  throw std::runtime_error("pair_coeff: the format version of FILE must be at most " +
                           std::to_string(NEWEST_FORMAT) + ", but '" + file + "' has version " +
                           std::to_string(version) +
                           "; update this plugin or export the model with its own uma-md");
}

Metadata parse_metadata(const std::string &file, const std::string &text)
{
  if (text.empty()) refuse(file, "has no record of a model");
  try {
    const json record = json::parse(text);
    check_format(file, record);
    const Metadata metadata = read_metadata(record);
    if (!is_valid(metadata)) refuse(file, "has a record with values that no model has");
    return metadata;
  } catch (const json::exception &failure) {
    refuse(file, std::string("has a record that cannot be read (") + failure.what() + ")");
  }
}

std::string read_checked_record(const std::string &file)
{
  if (!std::filesystem::is_regular_file(file)) {
    throw std::runtime_error("pair_coeff: FILE must be a model written by 'uma-md export', but "
                             "there is no file '" +
                             file + "'; check its name and folder");
  }
  const auto changed = or_refuse(file, [&] { return member_with_wrong_checksum(file); });
  if (!changed.empty()) refuse(file, "has changed since it was written (" + changed + ")");
  return or_refuse(file, [&] { return read_record(file); });
}

[[noreturn]] void refuse_code(const std::string &file, const std::string &found)
{
  throw std::runtime_error(
      "pair_coeff: FILE must be a model written by 'uma-md export', but '" + file + "' has code " +
      found + "; export the checkpoint with this uma-md, or run the code all the same, with your " +
      "rights, by 'pair_style uma trust yes'");
}

bool is_expert(const std::string &name)
{
  return name.ends_with(".experts");
}

// The experts stay on the host: only merging reads them, and they would take twenty times the
// memory of the merged weights. The code of older files cannot merge across devices.
void move_to(torch::jit::Module &module, at::Device device)
{
  if (device.is_cpu()) return;
  const bool on_host = module.hasattr("experts_on_host");
  for (const auto &[name, parameter] : module.named_parameters()) {
    if (!(on_host && is_expert(name))) parameter.set_data(parameter.to(device));
  }
  for (const auto &[name, buffer] : module.named_buffers()) buffer.set_data(buffer.to(device));
}

torch::jit::Module load(const std::string &file, bool trusted)
{
  if (!trusted) {
    const auto found = or_refuse(file, [&] { return run_by_loading(file); });
    if (!found.empty()) refuse_code(file, "that runs while it is loaded (" + found + ")");
  }
  auto module = or_refuse(file, [&] { return torch::jit::load(file, at::kCPU); });
  if (!trusted) {
    const auto found = or_refuse(file, [&] { return disallowed_operator(module); });
    if (!found.empty()) refuse_code(file, "with the operator " + found);
  }
  return module;
}

// The module as a file without experts, which only merging reads. It keeps its own.
std::string without_experts(const torch::jit::Module &module)
{
  std::vector<std::pair<at::Tensor, at::Tensor>> kept;
  for (const auto &[name, parameter] : module.named_parameters()) {
    if (!is_expert(name)) continue;
    kept.emplace_back(parameter, parameter.tensor_data());
    parameter.set_data(at::empty({0}, parameter.options()));
  }
  std::ostringstream file;
  std::exception_ptr failure;
  try {
    module.save(file);
  } catch (...) {
    failure = std::current_exception();
  }
  for (const auto &[parameter, experts] : kept) parameter.set_data(experts);
  if (failure) std::rethrow_exception(failure);
  return file.str();
}

// Reads a file on the first rank of a node, and gives it to the others.
torch::jit::Module load(const std::string &file, bool trusted, const NodeRanks &node,
                        Metadata &metadata)
{
  torch::jit::Module module;
  std::string record, archive;
  node.first_does([&] {
    record = read_checked_record(file);
    metadata = parse_metadata(file, record);
    module = load(file, trusted);
    if (node.size() > 1) archive = without_experts(module);
  });
  node.share(record);
  node.share(archive);
  if (node.is_first()) return module;
  metadata = parse_metadata(file, record);
  std::istringstream stream(archive);
  return torch::jit::load(stream, at::kCPU);
}

}    // namespace

ScriptedModel::ScriptedModel(const std::string &file, at::Device device, bool trusted,
                             std::shared_ptr<const NodeRanks> node) :
    device_(device),
    node_(std::move(node))
{
  module_ = std::make_unique<torch::jit::Module>(load(file, trusted, *node_, metadata_));
  move_to(*module_, device);
  module_->eval();
  for (auto parameter : module_->parameters()) parameter.set_requires_grad(false);
  dtype_ = metadata_.dtype == "float64" ? at::kDouble : at::kFloat;
  lmax_ = module_->attr("lmax").toInt();
  channels_ = module_->attr("sphere_channels").toInt();
  num_layers_ = module_->attr("num_layers").toInt();
  num_balanced_ = module_->attr("num_balanced").toInt();
  max_num_elements_ = module_->attr("max_num_elements").toInt();
}

ScriptedModel::~ScriptedModel() = default;

// Interprets the stages as they are: the profiling executor and fusion would compile anew for
// every number of edges.
at::Tensor ScriptedModel::call(const char *method, std::vector<c10::IValue> arguments)
{
  const torch::jit::GraphOptimizerEnabledGuard plain(false);
  return module_->get_method(method)(std::move(arguments)).toTensor();
}

at::Tensor ScriptedModel::one_system(const at::Tensor &x) const
{
  return at::zeros({x.size(0)}, at::dtype(at::kLong).device(device_));
}

void ScriptedModel::merge(const at::Tensor &counts, int64_t charge, int64_t spin)
{
  const at::NoGradGuard no_grad;
  const torch::jit::GraphOptimizerEnabledGuard plain(false);
  node_->first_does([&] { module_->get_method("merge")({counts, charge, spin}); });
  if (node_->size() > 1) share_merged();
}

// Merging sets buffers, and nothing else.
void ScriptedModel::share_merged()
{
  std::vector<at::Tensor> merged;
  node_->first_does([&] {
    for (const auto &buffer : module_->buffers()) merged.push_back(on_host(buffer));
  });
  node_->share(merged);
  node_->together([&] {
    if (node_->is_first()) return;
    size_t k = 0;
    for (auto buffer : module_->buffers()) buffer.set_data(merged[k++].to(device_));
  });
}

bool ScriptedModel::has_weights() const
{
  return module_->find_method("node_weights").has_value();
}

kernels::Weights ScriptedModel::weights()
{
  const at::NoGradGuard no_grad;
  const torch::jit::GraphOptimizerEnabledGuard plain(false);
  kernels::Weights weights{lmax_, metadata_.cutoff, {}, {}, {}, {}};
  weights.edges = module_->get_method("edge_weights")({}).toTensorVector();
  for (int64_t layer = 0; layer < num_layers_; layer++) {
    weights.layers.push_back(module_->get_method("message_weights")({layer}).toTensorVector());
    weights.nodes.push_back(module_->get_method("node_weights")({layer}).toTensorVector());
  }
  weights.readout = module_->get_method("readout_weights")({}).toTensorVector();
  return weights;
}

at::Tensor ScriptedModel::embed(const at::Tensor &atomic_numbers)
{
  return call("embed", {atomic_numbers});
}

at::Tensor ScriptedModel::edge_embedding(const at::Tensor &vectors,
                                         const at::Tensor &sender_numbers,
                                         const at::Tensor &receiver_numbers)
{
  return call("edge_embedding", {vectors, sender_numbers, receiver_numbers});
}

at::Tensor ScriptedModel::normalize(int64_t layer, const at::Tensor &x)
{
  return call("normalize", {layer, x});
}

at::Tensor ScriptedModel::messages(int64_t layer, const at::Tensor &h_senders,
                                   const at::Tensor &h_receivers, const at::Tensor &vectors,
                                   const at::Tensor &sender_numbers,
                                   const at::Tensor &receiver_numbers)
{
  return call("messages",
              {layer, h_senders, h_receivers, vectors, sender_numbers, receiver_numbers});
}

at::Tensor ScriptedModel::update(int64_t layer, const at::Tensor &x, const at::Tensor &m)
{
  return call("update", {layer, x, m});
}

at::Tensor ScriptedModel::channel_sums(const at::Tensor &x)
{
  return call("channel_sums", {x, one_system(x), int64_t(1)});
}

at::Tensor ScriptedModel::balance(const at::Tensor &x, const at::Tensor &sums, int64_t natoms)
{
  const auto total = at::full({1}, natoms, at::dtype(at::kLong).device(device_));
  return call("balance", {x, sums, one_system(x), total});
}

at::Tensor ScriptedModel::targets() const
{
  return module_->attr("targets").toTensor();
}

at::Tensor ScriptedModel::readout(const at::Tensor &x, const at::Tensor &atomic_numbers)
{
  return call("readout", {x, atomic_numbers});
}

}    // namespace uma
