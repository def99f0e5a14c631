// SPDX-License-Identifier: MIT
// The stages on a GPU: launches of gpu_kernels.cu, and products by torch's library.

#include "backend.h"
#include "gpu_arguments.h"
#include "gpu_program.h"
#include "halves.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <algorithm>
#include <stdexcept>
#include <type_traits>

namespace uma::kernels {
namespace {

constexpr int THREADS = 128;          // of a block
constexpr int64_t NODES = 1 << 15;    // that are worked on at a time

template <class T> class GpuKernels final : public Kernels<T>, public NodeKernels<T> {
 public:
  GpuKernels(const Sizes &sizes, at::Device device, std::shared_ptr<const GpuDriver> driver,
             bool keeps) :
      sizes_(sizes),
      group_(sizes.channels > 16 ? 32 : 16),
      program_(definitions(sizes, group_), device, std::move(driver), keeps)
  {
  }

  void geometry(const Constants<T> &constants, const T *centers, const WignerTerm *terms,
                int num_terms, const T *vectors, int num, EdgeArrays<T> edges) override
  {
    const gpu::Geometry<T> arguments{constants, centers, terms, num_terms, vectors, num, edges};
    program_.launch("uma_geometry", thread_each(num), arguments);
    program_.launch("uma_gaussians", group_each(num), arguments);
  }

  void gradients(const Constants<T> &constants, int num, EdgeArrays<T> edges, T *gradients) override
  {
    program_.launch("uma_gradients", thread_each(num),
                    gpu::Gradients<T>{constants, num, edges, gradients});
  }

  void hidden(const HiddenLayer<T> &layer, const Block<T> &block, T epsilon, T *x, T *scales,
              T *out) override
  {
    program_.launch("uma_hidden", group_each(block.num_edges),
                    gpu::Hidden<T>{layer, block.num_edges, block.sender_numbers,
                                   block.receiver_numbers, epsilon, x, scales, out});
  }

  void hidden_reverse(const HiddenLayer<T> &layer, int num, const T *normalized, const T *scales,
                      T *g) override
  {
    program_.launch("uma_hidden_reverse", group_each(num),
                    gpu::HiddenReverse<T>{layer, num, normalized, scales, g});
  }

  void basis_reverse(const Constants<T> &constants, const T *centers, int num, EdgeArrays<T> edges,
                     const T *g_basis) override
  {
    program_.launch("uma_basis_reverse", group_each(num),
                    gpu::BasisReverse<T>{constants, centers, num, edges, g_basis});
  }

  void rotate_in(const Constants<T> &constants, const Block<T> &block, const T *h, const T *scale,
                 T *x) override
  {
    auto grid = group_each(block.num_edges);
    grid.blocks_y = 2;    // ends
    program_.launch("uma_rotate_in", grid, gpu::RotateIn<T>{constants, block, h, scale, x});
  }

  void rotate_in_reverse(const Constants<T> &constants, const Block<T> &block, const T *h,
                         const T *scale, const T *g_x, T *g_scale, T *, T *g_receivers,
                         T *g_senders) override
  {
    program_.launch("uma_rotate_in_reverse", group_each(block.num_edges),
                    gpu::RotateInReverse<T>{constants, block, h, scale, g_x, g_scale});
    program_.launch("uma_sum_ends", rows_each(block.num_rows),
                    gpu::SumEnds<T>{constants, block, 0, scale, g_x, g_senders});
    program_.launch("uma_sum_ends", rows_each(block.end_receiver),
                    gpu::SumEnds<T>{constants, block, 1, scale, g_x, g_receivers});
  }

  void gate(const Constants<T> &constants, int num, const T *p, T *q) override
  {
    program_.launch("uma_gate", group_each(num), gpu::Gate<T>{constants, num, p, q});
  }

  void gate_reverse(const Constants<T> &constants, int num, const T *p, const T *g_q,
                    T *g_p) override
  {
    program_.launch("uma_gate_reverse", group_each(num),
                    gpu::GateReverse<T>{constants, num, p, g_q, g_p});
  }

  void rotate_out(const Constants<T> &constants, const Layout &layout, int mmax, T factor,
                  const Block<T> &block, const T *y, T *rows) override
  {
    program_.launch(mmax == sizes_.mmax ? "uma_rotate_out" : "uma_rotate_out_first",
                    rows_each(block.end_receiver - block.first_receiver),
                    gpu::RotateOut<T>{constants, layout, factor, block, y, rows});
  }

  void rotate_out_reverse(const Constants<T> &constants, const Layout &layout, int mmax, T factor,
                          const Block<T> &block, const T *y, const T *g_rows, T *g_y) override
  {
    program_.launch(mmax == sizes_.mmax ? "uma_rotate_out_reverse" : "uma_rotate_out_first_reverse",
                    group_each(block.num_edges),
                    gpu::RotateOutReverse<T>{constants, layout, factor, block, y, g_rows, g_y});
  }

  void split(int rows, int columns, const T *x, int stride, unsigned *halves)
  {
    program_.launch("uma_split", group_each(rows), gpu::Split<T>{rows, columns, stride, x, halves});
  }

  void sum_onto_senders(int, const int *, const int *, const int *, int, const T *, T *) override {}

  void run(const NormArguments<T> &a) override { launch_nodes("uma_norm", a); }
  void run(const NormReverseArguments<T> &a) override { launch_nodes("uma_norm_reverse", a); }
  void run(const NodeGateArguments<T> &a) override { launch_nodes("uma_node_gate", a); }
  void run(const NodeGateReverseArguments<T> &a) override
  {
    launch_nodes("uma_node_gate_reverse", a);
  }
  void run(const SortArguments<T> &a) override { launch_nodes("uma_sort", a); }
  void run(const AddArguments<T> &a) override { launch_nodes("uma_add", a); }
  void run(const SiluArguments<T> &a) override { launch_nodes("uma_silu", a); }
  void run(const SiluReverseArguments<T> &a) override { launch_nodes("uma_silu_reverse", a); }

 private:
  template <class Arguments> void launch_nodes(const char *kernel, const Arguments &arguments)
  {
    program_.launch(kernel, group_each(arguments.num), arguments);
  }

  static std::vector<std::string> definitions(const Sizes &sizes, int group)
  {
    const auto number = [](const char *name, int value) {
      return std::string("UMA_") + name + "=" + std::to_string(value);
    };
    return {std::is_same_v<T, double> ? "UMA_REAL=double" : "UMA_REAL=float",
            number("LMAX", sizes.lmax),
            number("MMAX", sizes.mmax),
            number("CHANNELS_OF_NODES", sizes.channels),
            number("HIDDEN_CHANNELS", sizes.hidden_channels),
            number("EDGE_CHANNELS", sizes.edge_channels),
            number("NUM_BASIS", sizes.num_basis),
            number("GROUP", group)};
  }

  static unsigned blocks(int num, int each) { return unsigned((num + each - 1) / each); }

  // A thread, a group of threads, or the channels' threads for each of so many.
  static GpuProgram::Grid thread_each(int num) { return {blocks(num, THREADS), 1, THREADS, 1}; }

  GpuProgram::Grid group_each(int num) const
  {
    const int each = THREADS / group_;
    return {blocks(num, each), 1, unsigned(group_), unsigned(each)};
  }

  GpuProgram::Grid rows_each(int num) const
  {
    const int channels = std::min((sizes_.channels + 15) / 16 * 16, THREADS);
    const int each = std::max(1, THREADS / channels);
    return {blocks(num, each), 1, unsigned(channels), unsigned(each)};
  }

  Sizes sizes_;
  int group_;
  GpuProgram program_;
};

// The halves of (inner, columns), column by column: 'inner' low ones and 'inner' high ones
// (halves.h).
at::Tensor split_weights(const at::Tensor &matrix)
{
  if (!takes_halves(int(matrix.size(0)))) return {};
  if (!(matrix.abs().max().item<double>() <= LARGEST_HALF)) {    // NaN, too
    throw std::runtime_error("the kernels take weights up to 65504 with precision fp16x3: use "
                             "precision float32");
  }
  const auto columns = matrix.t();
  const auto high = columns.to(at::kHalf);
  const auto low = ((columns - high.to(columns.scalar_type())) * HALVES_SCALE).to(at::kHalf);
  return at::cat({low, high}, 1);
}

template <class T> class GpuBackend final : public Backend<T> {
 public:
  GpuBackend(at::Device device, std::shared_ptr<const GpuDriver> driver, bool keeps,
             Precision precision) :
      device_(device),
      driver_(std::move(driver)),
      keeps_(keeps),
      takes_halves_(std::is_same_v<T, float> && precision == Precision::FP16x3)
  {
  }

  Packing packing() const override
  {
    return {0, /*three=*/false, takes_halves_ ? split_weights : nullptr};
  }

  void prepare(const Constants<T> &constants) override
  {
    kernels_ = std::make_unique<GpuKernels<T>>(constants.sizes, device_, driver_, keeps_);
    widest_ = constants.scale.width;
    for (const Layout *layout : {&constants.ends, &constants.hidden, &constants.out}) {
      widest_ = std::max(widest_, layout->start[1] + constants.gates);
      for (int m = 1; m <= constants.sizes.mmax; m++) {
        widest_ = std::max(widest_, layout->start[m + 1] - layout->start[m]);
      }
    }
  }

  Kernels<T> &kernels() override { return *kernels_; }
  NodeKernels<T> &node_kernels() override { return *kernels_; }

  void multiply(int rows, const T *x, int x_stride, const PackedMatrix<T> &matrix, const T *bias,
                T *out, int out_stride) const override
  {
    auto result = view(out, {rows, matrix.columns}, {out_stride, 1});
    const auto biases = bias ? view(bias, {matrix.columns}, {1}) : at::Tensor();
    if (matrix.parts != nullptr) {
      multiply_halves(rows, x, x_stride, matrix, biases, result);
      return;
    }
    const auto factor = view(x, {rows, matrix.inner}, {x_stride, 1});
    const auto weights = view(matrix.panels, {matrix.inner, matrix.columns}, {1, matrix.inner});
    if (bias == nullptr)
      at::mm_out(result, factor, weights);
    else
      at::addmm_out(result, keeps_memory_ ? biases.expand_as(result) : biases, factor, weights);
  }

  void multiply(int rows, const T *x, int x_stride, const ComplexMatrix<T> &matrix, T *, T *out,
                int out_stride) const override
  {
    multiply(rows, x, x_stride, matrix.whole, nullptr, out, out_stride);
  }

  // With biases as a vector torch may take another library, and memory for it.
  void keep_memory(bool keeps) override { keeps_memory_ = keeps; }

  int64_t bytes_at_work() const override { return takes_halves_ ? widest_ * 2 * HALF : 0; }
  int64_t bytes_held() const override { return halves_.defined() ? int64_t(halves_.nbytes()) : 0; }

  EdgeOrder order(const Edges &edges, const Constants<T> &, int64_t chunk) const override
  {
    return order_on_gpu(edges, int(std::max<int64_t>(chunk, 1)));
  }

  int concurrency() const override { return 1; }
  int64_t nodes_at_a_time(int64_t num_nodes) const override
  {
    return std::clamp<int64_t>(num_nodes, 1, NODES);
  }
  bool sums_ends_in_turn() const override { return true; }
  void sum_onto_senders(const EdgeOrder &, const EdgeOrder::Group &, int, const T *, T *) override
  {
  }

 private:
  static constexpr int64_t HALF = 2;    // bytes

  template <class Number>
  at::Tensor view(const Number *numbers, at::IntArrayRef sizes, at::IntArrayRef strides) const
  {
    return at::for_blob(const_cast<Number *>(numbers), sizes)
        .strides(strides)
        .options(at::TensorOptions().dtype(c10::CppTypeToScalarType<Number>::value).device(device_))
        .target_device(device_)
        .make_tensor();
  }

  // out = high Weights_high + (high Weights_low + low Weights_high) / HALVES_SCALE + bias
  void multiply_halves(int rows, const T *x, int x_stride, const PackedMatrix<T> &matrix,
                       const at::Tensor &bias, at::Tensor &out) const
  {
    const int64_t inner = matrix.inner, width = 2 * inner;
    if (!halves_.defined() || halves_.numel() < rows * width) {
      halves_ = at::Tensor();    // first free, then allocate
      halves_ = at::empty({rows * width}, out.options().dtype(at::kHalf));
    }
    kernels_->split(rows, matrix.inner, x, x_stride, static_cast<unsigned *>(halves_.data_ptr()));
    const auto factor = halves_.narrow(0, 0, rows * width).view({rows, width});
    const auto weights =
        view(static_cast<const at::Half *>(matrix.parts), {width, matrix.columns}, {1, width});
    if (bias.defined()) out.copy_(bias.expand_as(out));
    add_product(factor.narrow(1, 0, inner), weights.narrow(0, inner, inner), bias.defined(), 1,
                out);
    add_product(factor, weights, true, 1 / HALVES_SCALE, out);
  }

  // out = (out) + alpha factor weights, of halves, with sums in float32.
  void add_product(const at::Tensor &factor, const at::Tensor &weights, bool add, float alpha,
                   at::Tensor &out) const
  {
    if (device_.is_cpu())    // where a stand-in runs
      out.addmm_(factor.to(at::kFloat), weights.to(at::kFloat), add ? 1 : 0, alpha);
    else if (add)
      at::addmm_outf(out, factor, weights, at::kFloat, 1, alpha, out);
    else
      at::mm_outf(factor, weights, at::kFloat, out);
  }

  at::Device device_;
  std::shared_ptr<const GpuDriver> driver_;
  bool keeps_, takes_halves_;
  bool keeps_memory_ = false;
  int widest_ = 0;    // columns of a factor
  std::unique_ptr<GpuKernels<T>> kernels_;
  mutable at::Tensor halves_;    // of the factors
};

}    // namespace

template <class T>
std::unique_ptr<Backend<T>> gpu_backend(at::Device device, std::shared_ptr<const GpuDriver> driver,
                                        bool keeps, Precision precision)
{
  return std::make_unique<GpuBackend<T>>(device, std::move(driver), keeps, precision);
}

template std::unique_ptr<Backend<float>>
gpu_backend<float>(at::Device, std::shared_ptr<const GpuDriver>, bool, Precision);
template std::unique_ptr<Backend<double>>
gpu_backend<double>(at::Device, std::shared_ptr<const GpuDriver>, bool, Precision);

}    // namespace uma::kernels
