// SPDX-License-Identifier: MIT

#include "recorded_stages.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <utility>

namespace uma::kernels {
namespace {

using at::Tensor;

// Beyond this, as bytes that a layer's convolutions give, a GPU works longer than the host takes to
// hand out the work, and padding costs more than recordings save: measured on an H100.
constexpr int64_t MOST_BYTES = int64_t(1) << 25;

// Numbers of edges fluctuate in a run: room is made for one part in 64 more, in steps, and is kept
// while it is at most a quarter and a step more than that.
constexpr int64_t MORE = 64, STEP = 64, KEPT = 4;

bool on_default_stream(at::Device device)
{
  if (device.is_cpu()) return false;    // where a stand-in runs
  const c10::impl::VirtualGuardImpl guard(device.type());
  return guard.getStream(device) == guard.getDefaultStream(device);
}

}    // namespace

RecordedStages::RecordedStages(std::unique_ptr<Stages> stages, at::Device device,
                               std::shared_ptr<const GpuDriver> driver, Graphs graphs) :
    stages_(std::move(stages)),
    device_(device),
    driver_(std::move(driver)),
    graphs_(graphs)
{
}

int64_t RecordedStages::room(int64_t num_edges) const
{
  const int64_t now = sizes_[0], made = (num_edges + num_edges / MORE + STEP) / STEP * STEP;
  return num_edges <= now && now <= made + made / KEPT + STEP ? now : made;
}

void RecordedStages::set_edges(const Edges &edges, int64_t chunk)
{
  const int64_t num_edges = edges.senders.numel();
  const bool small = num_edges * stages_->bytes_per_edge(Keep::Both) <= MOST_BYTES;
  records_ = num_edges > 0 && (small || graphs_ == Graphs::On) && !on_default_stream(device_);
  Edges padded = edges;
  padded.room = records_ ? room(num_edges) : 0;
  if (records_) padded.num_inner = -1;
  const std::array<int64_t, 4> sizes{padded.room, edges.atomic_numbers.numel(), edges.num_owned,
                                     chunk};
  if (sizes != sizes_) recordings_.clear();
  sizes_ = sizes;
  stages_->set_edges(padded, chunk);
}

int64_t RecordedStages::recordings() const
{
  int64_t number = 0;
  for (const auto &[key, recording] : recordings_) number += recording ? 1 : 0;
  return number;
}

Tensor RecordedStages::run(const Key &key, const Arguments &arguments, const Work &work)
{
  if (!records_) return work(arguments);
  const auto found = recordings_.find(key);
  if (found == recordings_.end()) {
    auto result = work(arguments);
    recordings_.emplace(key, nullptr);
    return result;
  }
  if (!found->second || !takes(*found->second, arguments)) return record(key, arguments, work);
  Recording &recording = *found->second;
  for (size_t k = 0; k < arguments.size(); k++) {
    const Argument &argument = recording.arguments[k];
    if (!argument.is_result) argument.place.copy_(arguments[k]);
  }
  start(recording, work);
  return recording.result;
}

// Whether results of other recordings come again where they came before.
bool RecordedStages::takes(const Recording &recording, const Arguments &arguments)
{
  for (size_t k = 0; k < arguments.size(); k++) {
    const Argument &argument = recording.arguments[k];
    if (argument.is_result && !argument.place.is_same(arguments[k])) return false;
    if (argument.place.sizes() != arguments[k].sizes()) return false;
  }
  return true;
}

Tensor RecordedStages::record(const Key &key, const Arguments &arguments, const Work &work)
{
  recordings_[key] = nullptr;
  auto recording = std::make_unique<Recording>(driver_, device_);
  Arguments places;
  for (const Tensor &argument : arguments) {
    recording->arguments.push_back(settle(argument));
    places.push_back(recording->arguments.back().place);
  }
  if (device_.is_cpu()) {    // where a stand-in runs
    recording->result = work(places);
  } else {
    recording->graph.record([&] { recording->result = work(places); });
    recording->graph.launch();
  }
  auto &kept = recordings_[key];
  kept = std::move(recording);
  return kept->result;
}

RecordedStages::Argument RecordedStages::settle(const Tensor &argument) const
{
  for (const auto &[key, recording] : recordings_) {
    if (recording && recording->result.defined() && recording->result.is_same(argument))
      return {argument, true};
  }
  return {argument.clone(at::MemoryFormat::Contiguous), false};
}

void RecordedStages::start(Recording &recording, const Work &work) const
{
  if (!device_.is_cpu()) {
    recording.graph.launch();
    return;
  }
  Arguments places;
  for (const Argument &argument : recording.arguments) places.push_back(argument.place);
  const auto result = work(places);
  if (result.defined()) recording.result.copy_(result);
}

Tensor RecordedStages::embedding()
{
  return run({Stage::Embedding, 0}, {}, [&](const Arguments &) { return stages_->embedding(); });
}

Tensor RecordedStages::messages(int64_t layer, const Tensor &h, Keep keep, int64_t run,
                                const Tensor &m)
{
  if (!records_) return stages_->messages(layer, h, keep, run, m);
  if (keep != keep_) recordings_.clear();
  keep_ = keep;
  return this->run({Stage::Messages, layer}, {h}, [&](const Arguments &a) {
    return stages_->messages(layer, a[0], keep, run, m);
  });
}

Tensor RecordedStages::reverse_messages(int64_t layer, const Tensor &h, const Tensor &g,
                                        int64_t run, const Tensor &g_h)
{
  if (!records_) return stages_->reverse_messages(layer, h, g, run, g_h);
  return this->run({Stage::ReverseMessages, layer}, {h, g}, [&](const Arguments &a) {
    return stages_->reverse_messages(layer, a[0], a[1], run, g_h);
  });
}

void RecordedStages::reverse_embedding(const Tensor &g)
{
  run({Stage::ReverseEmbedding, 0}, {g}, [&](const Arguments &a) {
    stages_->reverse_embedding(a[0]);
    return Tensor();
  });
}

Tensor RecordedStages::normalize(int64_t layer, const Tensor &x)
{
  return run({Stage::Normalize, layer}, {x},
             [&](const Arguments &a) { return stages_->normalize(layer, a[0]); });
}

Tensor RecordedStages::reverse_normalize(int64_t layer, const Tensor &x, const Tensor &g)
{
  return run({Stage::ReverseNormalize, layer}, {x, g},
             [&](const Arguments &a) { return stages_->reverse_normalize(layer, a[0], a[1]); });
}

Tensor RecordedStages::update(int64_t layer, const Tensor &x, const Tensor &m)
{
  return run({Stage::Update, layer}, {x, m},
             [&](const Arguments &a) { return stages_->update(layer, a[0], a[1]); });
}

Tensor RecordedStages::reverse_update(int64_t layer, const Tensor &x, const Tensor &m,
                                      const Tensor &g)
{
  return run({Stage::ReverseUpdate, layer}, {x, m, g},
             [&](const Arguments &a) { return stages_->reverse_update(layer, a[0], a[1], a[2]); });
}

}    // namespace uma::kernels
