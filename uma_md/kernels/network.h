// SPDX-License-Identifier: MIT
// Merged weights, checked and arranged for the products.

#ifndef UMA_KERNELS_NETWORK_H
#define UMA_KERNELS_NETWORK_H

#include "edge_stages.h"
#include "kernels.h"

namespace uma::kernels {

// A radial network. The first map acts on the Gaussians; what the elements add stands in tables.
struct RadialNetwork {
  at::Tensor first, second, third;            // transposed for products
  at::Tensor sender_table, receiver_table;    // (elements, edge channels), bias included
  at::Tensor second_bias, third_bias;
  at::Tensor first_weight, first_shift, second_weight, second_shift;    // of the norms
};

// An SO(2) convolution: one map for each order.
struct Convolution {
  std::vector<at::Tensor> maps;    // transposed for products
  at::Tensor bias;                 // of order 0
};

struct MessageNetwork {
  RadialNetwork radial;
  Convolution first, second;
};

struct Network {
  explicit Network(const Weights &weights);

  Sizes sizes{};
  double cutoff = 0;
  at::Tensor centers;    // of the Gaussians
  RadialNetwork first_message;
  std::vector<MessageNetwork> layers;
};

template <class T> Constants<T> make_constants(const Network &network);

}    // namespace uma::kernels

#endif
