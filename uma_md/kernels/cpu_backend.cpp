// SPDX-License-Identifier: MIT

#include "backend.h"
#include "bf16.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <c10/core/CPUAllocator.h>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>
#ifdef UMA_X86
#include <cpuid.h>
#endif

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

// bf16_products.cpp.
#ifdef UMA_HAS_AVX512_BF16
namespace avx512_bf16 {
void get(bf16::Functions &);
}
#endif
#ifdef UMA_HAS_AMX
namespace amx {
void get(bf16::Functions &);
}
#endif

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

// Products of bfloat16, and the instructions that they take.
struct Found {
  bf16::Functions functions{};
  const char *instructions = nullptr;    // null where this processor has none
};

const Found &find_bf16()
{
  static const Found found = [] {
    Found best;
#ifdef UMA_X86
    [[maybe_unused]] unsigned a, b, c, d;
    if (at::get_cpu_capability() != "AVX512") return best;
#ifdef UMA_HAS_AVX512_BF16
    constexpr unsigned AVX512_BF16 = 1 << 5;    // EAX
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && a & AVX512_BF16) {
      avx512_bf16::get(best.functions);
      best.instructions = "AVX-512";
    }
#endif
#ifdef UMA_HAS_AMX
    constexpr unsigned AMX_BF16 = 1 << 22;    // EDX
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && d & AMX_BF16 && at::cpu::init_amx()) {
      amx::get(best.functions);
      best.instructions = "AMX";
    }
#endif
#endif
    return best;
  }();
  return found;
}

// What a thread splits features in.
bf16::Part *room()
{
  thread_local const auto room = c10::GetCPUAllocator()->allocate(bf16::ROOM);
  return static_cast<bf16::Part *>(room.get());
}

// The parts of (inner, columns), in tiles; nothing where the product is small.
template <int PARTS> at::Tensor split_weights(const at::Tensor &matrix)
{
  const int64_t inner = matrix.size(0), columns = matrix.size(1);
  if (!bf16::pays(inner, columns)) return {};
  const int64_t tiles = (inner + bf16::INNER - 1) / bf16::INNER;
  const int64_t panels = (columns + bf16::PANEL - 1) / bf16::PANEL;
  auto rest = at::zeros({tiles * bf16::INNER, panels * bf16::PANEL}, matrix.options());
  rest.narrow(0, 0, inner).narrow(1, 0, columns).copy_(matrix);
  std::vector<at::Tensor> parts;
  for (int p = 0; p < PARTS; p++) {
    parts.push_back(rest.to(at::kBFloat16));
    rest = rest - parts.back().to(at::kFloat);
  }
  // (part, inner, pairs of it, panel, 16 columns) to panels of tiles
  return at::stack(parts)
      .view({PARTS, tiles, bf16::INNER / 2, 2, panels, 2, bf16::TILE})
      .permute({4, 1, 0, 5, 2, 6, 3})
      .contiguous();
}

template <class T> class CpuBackend final : public Backend<T> {
 public:
  explicit CpuBackend(Precision precision) : packing_{products_.panel, /*three=*/true}
  {
    const bool two = precision == Precision::BF16x3, three = precision == Precision::BF16x6;
    if constexpr (std::is_same_v<T, float>) {
      if (!two && !three) return;
      const auto &[functions, instructions] = find_bf16();
      if (instructions == nullptr) throw std::runtime_error("this processor has no bfloat16");
      split_products_ = two ? functions.of_two : functions.of_three;
      packing_.split = two ? split_weights<2> : split_weights<3>;
    }
  }

  Packing packing() const override { return packing_; }
  void prepare(const Constants<T> &) override {}
  Kernels<T> &kernels() override { return kernels_; }
  NodeKernels<T> &node_kernels() override { return node_kernels_; }

  void multiply(int rows, const T *x, int x_stride, const PackedMatrix<T> &matrix, const T *bias,
                T *out, int out_stride) const override
  {
    if constexpr (std::is_same_v<T, float>) {
      if (matrix.parts) {
        split_products_.multiply(room(), rows, x, x_stride, matrix, bias, out, out_stride);
        return;
      }
    }
    products_.multiply(rows, x, x_stride, matrix, bias, out, out_stride);
  }

  void multiply(int rows, const T *x, int x_stride, const ComplexMatrix<T> &matrix, T *sums, T *out,
                int out_stride) const override
  {
    if constexpr (std::is_same_v<T, float>) {
      if (matrix.sum.parts) {
        split_products_.multiply_complex(room(), rows, x, x_stride, matrix, out, out_stride);
        return;
      }
    }
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
  bf16::SplitProducts split_products_{};    // of weights in parts
  Packing packing_;
};

}    // namespace

template <class T> std::unique_ptr<Backend<T>> cpu_backend(Precision precision)
{
  return std::make_unique<CpuBackend<T>>(precision);
}

const char *Stages::bf16_instructions()
{
  return find_bf16().instructions;
}

template std::unique_ptr<Backend<float>> cpu_backend<float>(Precision);
template std::unique_ptr<Backend<double>> cpu_backend<double>(Precision);

}    // namespace uma::kernels
