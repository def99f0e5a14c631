// SPDX-License-Identifier: MIT

#include "stages.h"

#include "backend.h"
#include "block_maps.h"
#include "network.h"
#include "node_stages.h"
#include "parallel.h"
#include "recorded_stages.h"
#include "wigner_terms.h"
#include "workspace.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <array>
#include <stdexcept>

namespace uma::kernels {
namespace {

using at::Tensor;

// Published models divide first messages by the root of a typical number of neighbors.
constexpr double FIRST_MESSAGE_SCALE = 1 / 5.0;

// What a layer keeps of each edge: the outputs of its convolutions, and its RadialRows.
struct Kept {
  Keep keep = Keep::Nothing;
  Buffer p, y;
  Buffer scale, first, second, first_scales, second_scales;
};

// One array of these, and the least choice that keeps it.
struct KeptPart {
  Buffer Kept::*buffer;
  int64_t width;
  Keep least;
};

template <class T> class KernelStages final : public Stages {
 public:
  KernelStages(const Weights &weights, std::unique_ptr<Backend<T>> backend) :
      backend_(std::move(backend)),
      network_(weights, backend_->packing()),
      constants_(make_constants<T>(network_.sizes, network_.cutoff)),
      options_(network_.centers.options()),
      kept_(network_.layers.size())
  {
    backend_->prepare(constants_);
    nodes_ = std::make_unique<NodeStages<T>>(network_, constants_, *backend_);
    maps_ = std::make_unique<BlockMaps<T>>(network_, constants_, *backend_);
    auto terms = wigner_terms(network_.sizes.lmax);
    num_terms_ = int(terms.size());
    const auto bytes = int64_t(terms.size() * sizeof(WignerTerm));
    terms_ = at::from_blob(terms.data(), {bytes}, at::kByte)
                 .to(options_.device(), /*non_blocking=*/false, /*copy=*/true);
  }

  int64_t bytes_per_edge(Keep keep) const override
  {
    int64_t widths = 0;
    for (const KeptPart &part : kept_parts()) widths += keep >= part.least ? part.width : 0;
    return widths * int64_t(sizeof(T));
  }

  int64_t bytes_at_work() const override
  {
    int64_t widths = 0;
    for (const auto &[part, width] : parts()) widths += width;
    return widths * int64_t(sizeof(T)) + backend_->bytes_at_work();
  }

  int64_t bytes_held() const override
  {
    int64_t bytes = backend_->bytes_held();
    for (const Workspace &w : workspaces_) {
      for (const auto &[part, width] : parts()) bytes += (w.*part).bytes();
    }
    for (const Kept &kept : kept_) {
      for (const KeptPart &part : kept_parts()) bytes += (kept.*part.buffer).bytes();
    }
    return bytes;
  }

  void set_edges(const Edges &edges, int64_t chunk) override
  {
    backend_->keep_memory(edges.room > 0);
    order_ = backend_->order(edges, constants_, chunk);
    num_edges_ = edges.senders.numel();
    room_ = std::max(num_edges_, edges.room);
    num_owned_ = edges.num_owned;
    told_apart_ = edges.num_inner >= 0;
    auto vectors = edges.vectors.contiguous();
    if (order_.permutation.defined()) vectors = vectors.index_select(0, order_.permutation);
    const auto numbers = edges.atomic_numbers.to(at::kInt);
    sender_numbers_ = numbers.index_select(0, order_.senders);
    receiver_numbers_ = numbers.index_select(0, order_.receivers);
    if (edges.room > 0) settle();
    reserve();
    pulls_.zero();
    for_blocks([&](const Block<T> &b, int64_t first, Workspace &) {
      kernels().geometry(constants_, network_.centers.template data_ptr<T>(),
                         static_cast<const WignerTerm *>(terms_.const_data_ptr()), num_terms_,
                         vectors.template data_ptr<T>() + 3 * first, without_padding(b), b.edges);
    });
  }

  Tensor embedding() override
  {
    auto out = sums();
    const auto work = [&](const Block<T> &b, int64_t, Workspace &w) {
      maps_->radial(network_.first_message, b, w, radial_rows(w, w.y));
      kernels().rotate_out(constants_, constants_.first, 0, T(FIRST_MESSAGE_SCALE), b,
                           w.y.rows<T>(), out.template data_ptr<T>());
    };
    for (int64_t run = 0; run <= inner_runs(); run++) for_blocks(blocks(run), work);
    return out;
  }

  int64_t inner_runs() const override { return order_.inner_groups; }

  Tensor messages(int64_t layer, const Tensor &h, Keep keep, int64_t run, const Tensor &m) override
  {
    const MessageNetwork<T> &net = network_.layers[layer];
    Kept &kept = kept_[layer];
    reserve(kept, keep);
    auto out = m.defined() ? m : sums();
    for_blocks(blocks(run), [&](const Block<T> &b, int64_t first, Workspace &w) {
      T *p = keep != Keep::Nothing ? kept.p.rows<T>(first) : w.p.rows<T>();
      T *y = keep >= Keep::Both ? kept.y.rows<T>(first) : w.y.rows<T>();
      const RadialRows<T> radial = radial_rows(kept, first, w);
      maps_->radial(net.radial, b, w, radial);
      first_convolution(net, b, h.template data_ptr<T>(), radial.out, w, p);
      second_convolution(net, b, p, w, y);
      kernels().rotate_out(constants_, constants_.out, network_.sizes.mmax, T(1), b, y,
                           out.template data_ptr<T>());
    });
    return out;
  }

  // Threads sum both ends apart, in an order that does not depend on their number: onto the rows of
  // senders that receive, too, in memory of its own until the last run.
  Tensor reverse_messages(int64_t layer, const Tensor &h, const Tensor &g, int64_t run,
                          const Tensor &g_h) override
  {
    const auto g_out = g.contiguous();
    auto g_receivers = g_h.defined() ? g_h : at::zeros_like(h);
    const bool apart = !backend_->sums_ends_in_turn() && (!told_apart_ || run < inner_runs());
    const int64_t rows = told_apart_ ? num_owned_ : h.size(0);
    if (apart && (!told_apart_ || run == 0)) g_senders_ = at::zeros_like(h.narrow(0, 0, rows));
    const auto g_senders = apart ? g_senders_ : g_receivers;
    const auto [first_group, end_group] = groups(run);
    for (int k = first_group; k < end_group; k++) {
      const auto &group = order_.groups[k];
      for_blocks({group.first_block, group.end_block}, [&](const Block<T> &b, int64_t first,
                                                           Workspace &w) {
        reverse_block(layer, b, first, h.template data_ptr<T>(), g_out.template data_ptr<T>(), w,
                      group, g_receivers.template data_ptr<T>(), g_senders.template data_ptr<T>());
      });
      backend_->sum_onto_senders(order_, group, int(node_width()), sender_rows_.rows<T>(),
                                 g_senders.template data_ptr<T>());
    }
    if (apart && (!told_apart_ || run + 1 == inner_runs())) {
      g_receivers.narrow(0, 0, rows).add_(g_senders);
      g_senders_ = Tensor();
    }
    return g_receivers;
  }

  void reverse_embedding(const Tensor &g) override
  {
    const auto g_out = g.contiguous();
    for_blocks([&](const Block<T> &b, int64_t, Workspace &w) {
      const RadialRows<T> radial = radial_rows(w, w.y);
      maps_->radial(network_.first_message, b, w, radial);
      kernels().rotate_out_reverse(constants_, constants_.first, 0, T(FIRST_MESSAGE_SCALE), b,
                                   w.y.rows<T>(), g_out.template data_ptr<T>(), w.g_y.rows<T>());
      maps_->reverse_radial(network_.first_message, b, w, radial, w.g_y.rows<T>());
    });
  }

  Tensor gradients() override
  {
    auto out = at::empty({num_edges_, 3}, options_);
    for_blocks([&](const Block<T> &b, int64_t first, Workspace &) {
      kernels().gradients(constants_, without_padding(b), b.edges,
                          out.template data_ptr<T>() + 3 * first);
    });
    if (!order_.permutation.defined()) return out;
    return at::empty_like(out).index_copy_(0, order_.permutation, out);
  }

  Tensor normalize(int64_t layer, const Tensor &x) override { return nodes_->normalize(layer, x); }
  Tensor reverse_normalize(int64_t layer, const Tensor &x, const Tensor &g) override
  {
    return nodes_->reverse_normalize(layer, x, g);
  }
  Tensor update(int64_t layer, const Tensor &x, const Tensor &m) override
  {
    return nodes_->update(layer, x, m);
  }
  Tensor reverse_update(int64_t layer, const Tensor &x, const Tensor &m, const Tensor &g) override
  {
    return nodes_->reverse_update(layer, x, m, g);
  }
  std::pair<Tensor, Tensor> readout(const Tensor &x, const Tensor &atomic_numbers) override
  {
    return nodes_->readout(x, atomic_numbers);
  }

 private:
  Kernels<T> &kernels() { return backend_->kernels(); }
  static const int *data(const Tensor &numbers)
  {
    return numbers.defined() ? numbers.data_ptr<int>() : nullptr;
  }
  int64_t node_width() const { return network_.sizes.node_width(); }
  int64_t p_width() const { return constants_.gates + constants_.hidden.width; }

  std::array<KeptPart, 7> kept_parts() const
  {
    const int64_t hidden = constants_.sizes.edge_channels;
    return {{{&Kept::p, p_width(), Keep::First},
             {&Kept::y, constants_.out.width, Keep::Both},
             {&Kept::scale, constants_.scale.width, Keep::All},
             {&Kept::first, hidden, Keep::All},
             {&Kept::second, hidden, Keep::All},
             {&Kept::first_scales, 1, Keep::All},
             {&Kept::second_scales, 1, Keep::All}}};
  }

  auto parts() const { return Workspace::parts(constants_, backend_->packing().three); }

  // Recordings look for the numbers of edges and rows where they were. Padding has number 0, which
  // is a row and an element, and is in no row's sum.
  void settle()
  {
    const std::array<Tensor *, 5> by_edge{&order_.senders, &order_.receivers, &order_.by_sender,
                                          &sender_numbers_, &receiver_numbers_};
    for (size_t k = 0; k < by_edge.size(); k++) settled_[k].take(*by_edge[k], room_);
    settled_[5].take(order_.starts, order_.starts.numel());
    settled_[6].take(order_.sender_starts, order_.sender_starts.numel());
  }

  int without_padding(const Block<T> &b) const
  {
    return int(std::clamp<int64_t>(num_edges_ - b.first_edge, 0, b.num_edges));
  }

  void reserve()
  {
    frames_.reserve(room_, constants_.frame.size, options_);
    distances_.reserve(room_, 1, options_);
    envelopes_.reserve(room_, 1, options_);
    slopes_.reserve(room_, 1, options_);
    basis_.reserve(room_, network_.sizes.num_basis, options_);
    pulls_.reserve(room_, 3, options_);
    sender_rows_.reserve(order_.largest_group, node_width(), options_, order_.group_limit);
    workspaces_.resize(backend_->concurrency());
    for (Workspace &w : workspaces_) {
      for (const auto &[part, width] : parts()) {
        (w.*part).reserve(order_.largest_block, width, options_, order_.block_limit);
      }
    }
  }

  void reserve(Kept &kept, Keep keep) const
  {
    kept.keep = keep;
    for (const KeptPart &part : kept_parts()) {
      Buffer &buffer = kept.*part.buffer;
      if (keep >= part.least)
        buffer.reserve(room_, part.width, options_);
      else
        buffer = Buffer();
    }
  }

  // Rows in a workspace, or of what is kept, from an edge on; the network's output goes to 'out'.
  template <class Buffers>
  static RadialRows<T> radial_rows(const Buffers &of, const Buffer &out, int64_t first = 0)
  {
    return {of.first.template rows<T>(first), of.second.template rows<T>(first),
            of.first_scales.template rows<T>(first), of.second_scales.template rows<T>(first),
            out.rows<T>(first)};
  }

  RadialRows<T> radial_rows(const Kept &kept, int64_t first, const Workspace &w) const
  {
    return kept.keep == Keep::All ? radial_rows(kept, kept.scale, first) : radial_rows(w, w.scale);
  }

  Tensor sums() const
  {
    return at::zeros({num_owned_, network_.sizes.coefficients(), network_.sizes.channels},
                     options_);
  }

  struct Range {
    int first, end;
  };

  // The groups of a run: one where it is of inner edges.
  Range groups(int64_t run) const
  {
    const int first = int(run);
    return {first, run < inner_runs() ? first + 1 : int(order_.groups.size())};
  }

  Range blocks(int64_t run) const
  {
    const auto [first, end] = groups(run);
    if (first == end) return {0, 0};
    return {order_.groups[first].first_block, order_.groups[end - 1].end_block};
  }

  // Calls work(block, first edge, workspace) for blocks, which threads share out as they come. No
  // two of them have an edge to the same receiver on a CPU, where threads would meet there.
  template <class Work> void for_blocks(const Range &range, const Work &work)
  {
    share_out(range.first, range.end, int64_t(workspaces_.size()), options_.device(),
              [&](int k, int64_t thread) {
                work(block(order_.blocks[k]), order_.blocks[k].first_edge, workspaces_[thread]);
              });
  }

  template <class Work> void for_blocks(const Work &work)
  {
    for_blocks({0, int(order_.blocks.size())}, work);
  }

  bool is_inner(const EdgeOrder::Block &b) const
  {
    return order_.inner_groups > 0 && b.end_edge <= order_.groups[order_.inner_groups - 1].end_edge;
  }

  Block<T> block(const EdgeOrder::Block &b) const
  {
    const int64_t first = b.first_edge;
    return {b.first_receiver,
            b.end_receiver,
            order_.starts.template data_ptr<int>() + b.part * num_owned_,
            b.first_edge,
            b.end_edge - b.first_edge,
            order_.senders.data_ptr<int>() + first,
            order_.receivers.data_ptr<int>() + first,
            sender_numbers_.data_ptr<int>() + first,
            receiver_numbers_.data_ptr<int>() + first,
            {frames_.rows<T>(first), distances_.rows<T>(first), envelopes_.rows<T>(first),
             slopes_.rows<T>(first), basis_.rows<T>(first), pulls_.rows<T>(first)},
            is_inner(b) ? int(num_owned_) : order_.num_rows,
            data(order_.sender_starts),
            data(order_.by_sender)};
  }

  void first_convolution(const MessageNetwork<T> &net, const Block<T> &b, const T *h,
                         const T *scale, Workspace &w, T *p)
  {
    kernels().rotate_in(constants_, b, h, scale, w.x.rows<T>());
    maps_->convolve(net.first, b.num_edges, w.x.rows<T>(), constants_.ends, p, constants_.hidden,
                    constants_.gates, w);
  }

  void second_convolution(const MessageNetwork<T> &net, const Block<T> &b, const T *p, Workspace &w,
                          T *y)
  {
    kernels().gate(constants_, b.num_edges, p, w.q.rows<T>());
    maps_->convolve(net.second, b.num_edges, w.q.rows<T>(), constants_.hidden, y, constants_.out, 0,
                    w);
  }

  void reverse_block(int64_t layer, const Block<T> &b, int64_t first, const T *h, const T *g_out,
                     Workspace &w, const EdgeOrder::Group &group, T *g_receivers, T *g_senders)
  {
    const MessageNetwork<T> &net = network_.layers[layer];
    const Kept &kept = kept_[layer];
    T *p = kept.keep != Keep::Nothing ? kept.p.rows<T>(first) : w.p.rows<T>();
    T *y = kept.keep >= Keep::Both ? kept.y.rows<T>(first) : w.y.rows<T>();
    const RadialRows<T> radial = radial_rows(kept, first, w);
    if (kept.keep != Keep::All) maps_->radial(net.radial, b, w, radial);
    if (kept.keep == Keep::Nothing) first_convolution(net, b, h, radial.out, w, p);
    if (kept.keep < Keep::Both) second_convolution(net, b, p, w, y);
    kernels().rotate_out_reverse(constants_, constants_.out, network_.sizes.mmax, T(1), b, y, g_out,
                                 w.g_y.rows<T>());
    maps_->convolve_reverse(net.second, b.num_edges, w.g_y.rows<T>(), constants_.out, 0,
                            w.q.rows<T>(), constants_.hidden, w);
    kernels().gate_reverse(constants_, b.num_edges, p, w.q.rows<T>(), w.g_p.rows<T>());
    maps_->convolve_reverse(net.first, b.num_edges, w.g_p.rows<T>(), constants_.hidden,
                            constants_.gates, w.x.rows<T>(), constants_.ends, w);
    kernels().rotate_in_reverse(constants_, b, h, radial.out, w.x.rows<T>(), w.g_scale.rows<T>(),
                                sender_rows_.rows<T>(first - group.first_edge), g_receivers,
                                g_senders);
    maps_->reverse_radial(net.radial, b, w, radial, w.g_scale.rows<T>());
  }

  std::unique_ptr<Backend<T>> backend_;
  Network<T> network_;
  Constants<T> constants_;
  std::unique_ptr<NodeStages<T>> nodes_;
  std::unique_ptr<BlockMaps<T>> maps_;
  Tensor terms_;
  int num_terms_ = 0;
  at::TensorOptions options_;
  EdgeOrder order_;
  int64_t num_edges_ = 0, room_ = 0, num_owned_ = 0;
  bool told_apart_ = false;    // inner edges from others
  std::array<Settled, 7> settled_;
  Tensor sender_numbers_, receiver_numbers_, g_senders_;
  Buffer frames_, distances_, envelopes_, slopes_, basis_, pulls_, sender_rows_;
  std::vector<Workspace> workspaces_;
  std::vector<Kept> kept_;
};

template <class T>
std::unique_ptr<Stages> make_of(const Weights &weights, at::Device device,
                                const std::string &driver_name, Precision precision, Graphs graphs)
{
  const bool on_cpu = device.is_cpu() && driver_name.empty();
  if (precision != Precision::Float32 && is_for_cpus(precision) != on_cpu)
    throw std::runtime_error(std::string("the kernels take another device for precision ") +
                             word(precision));
  if (on_cpu) return std::make_unique<KernelStages<T>>(weights, cpu_backend<T>(precision));
  const auto driver = std::make_shared<const GpuDriver>(driver_name);
  auto stages = std::make_unique<KernelStages<T>>(
      weights, gpu_backend<T>(device, driver, driver_name.empty(), precision));
  if (graphs == Graphs::Off) return stages;
  return std::make_unique<RecordedStages>(std::move(stages), device, driver, graphs);
}

}    // namespace

bool Stages::supports(at::Device device)
{
  return device.is_cpu() || (device.is_cuda() && GpuDriver::is_possible());
}

std::unique_ptr<Stages> Stages::make(const Weights &weights, const std::string &driver,
                                     Precision precision, Graphs graphs)
{
  if (weights.edges.empty()) throw std::runtime_error("the kernels take weights");
  const Tensor &sample = weights.edges[0];
  const auto device = sample.device();
  if (!supports(device)) throw std::runtime_error("there are no kernels for " + device.str());
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const c10::DeviceGuard guard(device);
  if (sample.scalar_type() == at::kDouble)
    return make_of<double>(weights, device, driver, precision, graphs);
  if (sample.scalar_type() == at::kFloat)
    return make_of<float>(weights, device, driver, precision, graphs);
  throw std::runtime_error("there are kernels for float32 and float64");
}

}    // namespace uma::kernels
