// SPDX-License-Identifier: MIT

#include "network.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <stdexcept>

namespace uma::kernels {
namespace {

using at::Tensor;

constexpr size_t RADIAL = 10;    // tensors of a radial network
constexpr double NORM_EPSILON = 1e-5;

void require(bool holds, const char *what)
{
  if (!holds) throw std::runtime_error(std::string("the kernels take ") + what);
}

// The tensors of a radial network: first map, bias, norm, bias, second, bias, norm, bias, third,
// bias.
RadialNetwork make_radial(const std::vector<Tensor> &w, const Tensor &sender_embedding,
                          const Tensor &receiver_embedding)
{
  require(w.size() >= RADIAL, "radial networks of ten tensors");
  const int64_t width = sender_embedding.size(1), basis = w[0].size(1) - 2 * width;
  require(basis > 1, "radial networks on two or more Gaussians");
  RadialNetwork radial;
  radial.first = w[0].narrow(1, 0, basis).contiguous().t();
  radial.sender_table = at::matmul(sender_embedding, w[0].narrow(1, basis, width).t());
  radial.receiver_table =
      at::matmul(receiver_embedding, w[0].narrow(1, basis + width, width).t()) + w[1];
  radial.first_weight = w[2].contiguous();
  radial.first_shift = w[3].contiguous();
  radial.second = w[4].contiguous().t();
  radial.second_bias = w[5].contiguous();
  radial.second_weight = w[6].contiguous();
  radial.second_shift = w[7].contiguous();
  radial.third = w[8].contiguous().t();
  radial.third_bias = w[9].contiguous();
  return radial;
}

Convolution make_convolution(const std::vector<Tensor> &w, size_t start, int orders)
{
  Convolution convolution;
  convolution.bias = w[start + 1].contiguous();
  convolution.maps.push_back(w[start].contiguous().t());
  for (int m = 1; m <= orders; m++) {
    convolution.maps.push_back(w[start + 1 + m].contiguous().t());
  }
  return convolution;
}

}    // namespace

Network::Network(const Weights &weights) : cutoff(weights.cutoff)
{
  require(weights.edges.size() == 3 + RADIAL, "embeddings, Gaussians and a radial network");
  require(!weights.layers.empty() && weights.layers[0].size() >= RADIAL + 4, "messages");
  const Tensor &senders = weights.edges[0], &receivers = weights.edges[1];
  const auto &layer = weights.layers[0];
  centers = weights.edges[2].to(senders.scalar_type()).contiguous();
  sizes.lmax = int(weights.lmax);
  sizes.mmax = int(layer.size() - RADIAL - 4) / 2;
  require(sizes.lmax >= 1 && sizes.lmax <= LARGEST_DEGREE, "degrees up to 6");
  require(sizes.mmax <= sizes.lmax, "orders up to the largest degree");
  const int degrees = sizes.lmax + 1;
  const Tensor &second_zero = layer[RADIAL + 2 + sizes.mmax];
  sizes.channels = int(second_zero.size(0)) / degrees;
  sizes.hidden_channels = int(second_zero.size(1)) / degrees;
  sizes.edge_channels = int(senders.size(1));
  sizes.num_basis = int(centers.numel());
  const std::vector<Tensor> radial(weights.edges.begin() + 3, weights.edges.end());
  first_message = make_radial(radial, senders, receivers);
  for (const auto &w : weights.layers) {
    layers.push_back({make_radial(w, senders, receivers), make_convolution(w, RADIAL, sizes.mmax),
                      make_convolution(w, RADIAL + 2 + sizes.mmax, sizes.mmax)});
  }
}

template <class T> Constants<T> make_constants(const Network &network)
{
  const Sizes &s = network.sizes;
  const int gates = s.lmax * s.hidden_channels;
  const double step = network.cutoff / (s.num_basis - 1);
  Constants<T> constants{
      s,
      FrameLayout(s.lmax, s.mmax),
      Layout(s.lmax, s.mmax, 2 * s.channels),
      Layout(s.lmax, s.mmax, 2 * s.channels, false),
      Layout(s.lmax, s.mmax, s.hidden_channels),
      Layout(s.lmax, s.mmax, s.channels),
      Layout(s.lmax, 0, s.channels),
      gates,
      T(network.cutoff),
      T(-0.5 / (4 * step * step)),
      T(NORM_EPSILON),
      {},
  };
  for (int l = 0; l <= s.lmax; l++) {
    for (int m = 0; m < l; m++) constants.generators[l][m] = T(generator(l, m));
  }
  return constants;
}

template Constants<float> make_constants<float>(const Network &);
template Constants<double> make_constants<double>(const Network &);

}    // namespace uma::kernels
