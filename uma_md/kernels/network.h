// SPDX-License-Identifier: MIT
// Merged weights, checked and arranged for the products.

#ifndef UMA_KERNELS_NETWORK_H
#define UMA_KERNELS_NETWORK_H

#include "kernels.h"
#include "packing.h"
#include "products.h"
#include "stages.h"

namespace uma::kernels {

// A linear map of features, packed for its products and for those of its reverse.
template <class T> class Map {
 public:
  Map() = default;
  // weight: (out, in). Throws std::runtime_error when the bias has other columns, and for weights
  // beyond the range of the parts that they are split into.
  Map(const at::Tensor &weight, const at::Tensor &bias, Packing packing);

  PackedMatrix<T> forward() const { return {in, out, numbers(panels_), data(parts_)}; }
  PackedMatrix<T> reverse() const
  {
    return {out, in, numbers(reverse_panels_), data(reverse_parts_)};
  }
  const T *bias() const { return bias_.defined() ? bias_.data_ptr<T>() : nullptr; }

  int in = 0, out = 0;    // features

 private:
  static const T *numbers(const at::Tensor &panels)
  {
    return panels.defined() ? panels.data_ptr<T>() : nullptr;
  }
  static const void *data(const at::Tensor &parts)
  {
    return parts.defined() ? parts.const_data_ptr() : nullptr;
  }

  at::Tensor parts_, reverse_parts_;      // where numbers are split
  at::Tensor panels_, reverse_panels_;    // where they are not
  at::Tensor bias_;
};

// A complex linear map, from weights (2 out, 2 in) that act on real parts and, after them,
// imaginary ones.
template <class T> class ComplexMap {
 public:
  ComplexMap(const at::Tensor &weight, Packing packing);

  ComplexMatrix<T> forward() const;
  ComplexMatrix<T> reverse() const;

 private:
  std::vector<Map<T>> maps_;    // one or three
};

// Scale and shift of a norm.
struct Norm {
  at::Tensor weight, bias;
};

// A radial network. Its first map acts on the Gaussians; what elements add stands in tables.
template <class T> struct RadialNetwork {
  Map<T> first, second, third;
  at::Tensor sender_table, receiver_table;    // (elements, edge channels), bias included
  Norm first_norm, second_norm;
};

// An SO(2) convolution: one map for each order, complex ones from order 1 on.
template <class T> struct Convolution {
  Map<T> zero;
  std::vector<ComplexMap<T>> others;
};

template <class T> struct MessageNetwork {
  RadialNetwork<T> radial;
  Convolution<T> first, second;
};

// What nodes do with their features alone; one map for each degree.
template <class T> struct NodeNetwork {
  Norm message_norm, node_norm;
  Map<T> gates;
  std::vector<Map<T>> first, second;
};

template <class T> struct Readout {
  Norm norm;
  Map<T> first, second, third;
  at::Tensor last;          // weights of the third
  at::Tensor references;    // energies of elements, float64
};

template <class T> struct Network {
  // Throws std::runtime_error for weights of other shapes.
  Network(const Weights &weights, Packing packing);

  Sizes sizes{};
  double cutoff = 0;
  at::Tensor centers;    // of the Gaussians
  RadialNetwork<T> first_message;
  std::vector<MessageNetwork<T>> layers;
  std::vector<NodeNetwork<T>> nodes;
  Readout<T> readout;
};

template <class T> Constants<T> make_constants(const Sizes &sizes, double cutoff);

}    // namespace uma::kernels

#endif
