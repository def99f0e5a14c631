// SPDX-License-Identifier: MIT
// The edge stages on a GPU: launches of gpu_kernels.cu, and products by torch's library.

#include "backend.h"
#include "gpu_arguments.h"
#include "gpu_program.h"

#include <ATen/ops/addmm.h>
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
  GpuKernels(const Sizes &sizes, at::Device device, const std::string &driver) :
      sizes_(sizes),
      group_(sizes.channels > 16 ? 32 : 16),
      program_(definitions(sizes, group_), device, driver)
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

template <class T> class GpuBackend final : public Backend<T> {
 public:
  GpuBackend(at::Device device, std::string driver) : device_(device), driver_(std::move(driver)) {}

  int panel() const override { return 0; }

  void prepare(const Constants<T> &constants) override
  {
    kernels_ = std::make_unique<GpuKernels<T>>(constants.sizes, device_, driver_);
  }

  Kernels<T> &kernels() override { return *kernels_; }
  NodeKernels<T> &node_kernels() override { return *kernels_; }

  void multiply(int rows, const T *x, int x_stride, const PackedMatrix<T> &matrix, const T *bias,
                T *out, int out_stride) const override
  {
    auto result = view(out, rows, matrix.columns, out_stride);
    const auto factor = view(x, rows, matrix.inner, x_stride);
    const auto weights = view(matrix.panels, matrix.inner, matrix.columns, matrix.columns);
    if (bias == nullptr)
      at::mm_out(result, factor, weights);
    else
      at::addmm_out(result, view(bias, 1, matrix.columns, matrix.columns)[0], factor, weights);
  }

  EdgeOrder order(const Edges &edges, const Constants<T> &, int64_t chunk) const override
  {
    return order_on_gpu(edges.senders, edges.receivers, edges.num_owned,
                        edges.atomic_numbers.numel(), int(std::max<int64_t>(chunk, 1)));
  }

  int concurrency() const override { return 1; }
  int64_t nodes_at_a_time(int64_t num_nodes) const override
  {
    return std::clamp<int64_t>(num_nodes, 1, NODES);
  }
  void sum_onto_senders(const EdgeOrder &, const EdgeOrder::Group &, int, const T *, T *) override
  {
  }

 private:
  at::Tensor view(const T *numbers, int64_t rows, int64_t columns, int64_t stride) const
  {
    return at::for_blob(const_cast<T *>(numbers), {rows, columns})
        .strides({stride, 1})
        .options(at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value).device(device_))
        .target_device(device_)
        .make_tensor();
  }

  at::Device device_;
  std::string driver_;
  std::unique_ptr<GpuKernels<T>> kernels_;
};

}    // namespace

template <class T>
std::unique_ptr<Backend<T>> gpu_backend(at::Device device, const std::string &driver)
{
  return std::make_unique<GpuBackend<T>>(device, driver);
}

template std::unique_ptr<Backend<float>> gpu_backend<float>(at::Device, const std::string &);
template std::unique_ptr<Backend<double>> gpu_backend<double>(at::Device, const std::string &);

}    // namespace uma::kernels
