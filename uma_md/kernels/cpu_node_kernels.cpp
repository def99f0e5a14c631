// SPDX-License-Identifier: MIT
// The kernels of the node stages on a CPU, compiled as cpu_kernels.cpp is.

#include "node_kernels.h"

namespace uma::kernels::UMA_INSTRUCTIONS {
namespace {

template <class T> class CpuNodeKernels final : public NodeKernels<T> {
 public:
  void run(const NormArguments<T> &arguments) override { for_nodes(arguments); }
  void run(const NormReverseArguments<T> &arguments) override { for_nodes(arguments); }
  void run(const NodeGateArguments<T> &arguments) override { for_nodes(arguments); }
  void run(const NodeGateReverseArguments<T> &arguments) override { for_nodes(arguments); }
  void run(const SortArguments<T> &arguments) override { for_nodes(arguments); }
  void run(const AddArguments<T> &arguments) override { for_nodes(arguments); }
  void run(const SiluArguments<T> &arguments) override { for_nodes(arguments); }
  void run(const SiluReverseArguments<T> &arguments) override { for_nodes(arguments); }

 private:
  template <class Arguments> static void for_nodes(const Arguments &a)
  {
    const Shape<int, int, int, int> shape{a.sizes.lmax, a.sizes.mmax, a.sizes.channels,
                                          a.sizes.hidden_channels};
    for (int i = 0; i < a.num; i++) run_node(a, shape, i);
  }
};

}    // namespace

void get(NodeKernels<UMA_REAL> *&kernels)
{
  static CpuNodeKernels<UMA_REAL> instance;
  kernels = &instance;
}

}    // namespace uma::kernels::UMA_INSTRUCTIONS
