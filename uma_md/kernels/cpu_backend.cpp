// SPDX-License-Identifier: MIT

#include "backend.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <algorithm>
#include <string>

namespace uma::kernels {

// cpu_kernels.cpp, cpu_node_kernels.cpp and cpu_products.cpp, compiled for each set of
// instructions.
#define UMA_DECLARE(instructions)                                                                  \
  namespace instructions {                                                                         \
  void get(Kernels<float> *&);                                                                     \
  void get(Kernels<double> *&);                                                                    \
  void get(NodeKernels<float> *&);                                                                 \
  void get(NodeKernels<double> *&);                                                                \
  void get(Products<float> &);                                                                     \
  void get(Products<double> &);                                                                    \
  }

UMA_DECLARE(any)
UMA_DECLARE(avx2)
UMA_DECLARE(avx512)

namespace {

// Edges of a block, so that its features stay in the caches: as many as the widest rows allow.
constexpr int64_t BLOCK_NUMBERS = 400000, SMALLEST_BLOCK = 64, LARGEST_BLOCK = 512;
// Rows by edge of a group's senders.
constexpr int64_t GROUP_BYTES = 48 << 20;
constexpr int64_t SENDERS_PER_TASK = 16;
constexpr int64_t BLOCKS_OF_RUN = 2;    // and thread, between two looks at messages that travel
constexpr int64_t NODES = 32;           // of a block

// Kernels or products for the instructions that torch uses: those of this processor, or fewer where
// ATEN_CPU_CAPABILITY says so.
template <class Part> Part find()
{
  Part part{};
#ifdef UMA_X86
  const auto capability = at::get_cpu_capability();
  if (capability == "AVX512") {
    avx512::get(part);
    return part;
  }
  if (capability == "AVX2") {
    avx2::get(part);
    return part;
  }
#endif
  any::get(part);
  return part;
}

template <class T> class CpuBackend final : public Backend<T> {
 public:
  Packing packing() const override { return {products_.panel, false, /*three=*/true}; }
  void prepare(const Constants<T> &) override {}
  Kernels<T> &kernels() override { return kernels_; }
  NodeKernels<T> &node_kernels() override { return node_kernels_; }

  void multiply(int rows, const T *x, int x_stride, const PackedMatrix<T> &matrix, const T *bias,
                T *out, int out_stride) const override
  {
    products_.multiply(rows, x, x_stride, matrix, bias, out, out_stride);
  }

  void multiply(int rows, const T *x, int x_stride, const ComplexMatrix<T> &matrix, T *sums, T *out,
                int out_stride) const override
  {
    products_.multiply_complex(rows, x, x_stride, matrix, sums, out, out_stride);
  }

  EdgeOrder order(const Edges &edges, const Constants<T> &constants, int64_t) const override
  {
    const int64_t width = constants.sizes.node_width();
    const auto block =
        std::clamp(BLOCK_NUMBERS / constants.ends.width, SMALLEST_BLOCK, LARGEST_BLOCK);
    const auto group = GROUP_BYTES / int64_t(width * sizeof(T));
    return order_on_cpu(edges, int(block), int(std::max(group, block)),
                        int(BLOCKS_OF_RUN * block * concurrency()));
  }

  bool keeps_radial() const override { return true; }
  int concurrency() const override { return at::get_num_threads(); }
  int64_t nodes_at_a_time(int64_t) const override { return NODES; }

  bool sums_ends_in_turn() const override { return false; }
  void sum_onto_senders(const EdgeOrder &order, const EdgeOrder::Group &group, int width,
                        const T *edge_rows, T *rows) override
  {
    const auto num = int64_t(group.starts.size()) - 1;
    const int *senders = order.senders.data_ptr<int>() + group.first_edge;
    at::parallel_for(0, num, SENDERS_PER_TASK, [&](int64_t first, int64_t end) {
      kernels_.sum_onto_senders(int(end - first), group.starts.data() + first,
                                group.by_sender.data(), senders, width, edge_rows, rows);
    });
  }

 private:
  Kernels<T> &kernels_ = *find<Kernels<T> *>();
  NodeKernels<T> &node_kernels_ = *find<NodeKernels<T> *>();
  const Products<T> products_ = find<Products<T>>();
};

}    // namespace

template <class T> std::unique_ptr<Backend<T>> cpu_backend()
{
  return std::make_unique<CpuBackend<T>>();
}

template std::unique_ptr<Backend<float>> cpu_backend<float>();
template std::unique_ptr<Backend<double>> cpu_backend<double>();

}    // namespace uma::kernels
