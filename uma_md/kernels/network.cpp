// SPDX-License-Identifier: MIT

#include "network.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <stdexcept>
#include <string>

namespace uma::kernels {
namespace {

using at::Tensor;

// Tensors of a radial network, of what nodes do, and of the readout.
constexpr size_t RADIAL = 10, NODE = 10, READOUT = 9;
constexpr double NORM_EPSILON = 1e-5;

void require(bool holds, const char *what)
{
  if (!holds) throw std::runtime_error(std::string("the kernels take ") + what);
}

int64_t filled_up(int64_t columns, int panel)
{
  return panel == 0 ? columns : (columns + panel - 1) / panel * panel;
}

// (in, out) in panels of columns, filled up with zeros; without panels, column by column.
Tensor pack(const Tensor &matrix, int panel)
{
  if (panel == 0) return matrix.t().contiguous();
  const int64_t in = matrix.size(0), out = matrix.size(1), panels = filled_up(out, panel) / panel;
  auto filled = at::zeros({in, panels * panel}, matrix.options());
  filled.narrow(1, 0, out).copy_(matrix);
  return filled.view({in, panels, panel}).transpose(0, 1).contiguous();
}

// The parts of (in, out); nothing where numbers are not split, or that does not pay.
Tensor split(const Tensor &matrix, Packing packing)
{
  return packing.split ? packing.split(matrix) : Tensor();
}

// embedding weight^T, (elements, out), summed in one order; what a library of products gives may
// depend on the number of threads.
Tensor table(const Tensor &embedding, const Tensor &weight)
{
  auto sums = at::zeros({embedding.size(0), weight.size(0)}, embedding.options());
  for (int64_t k = 0; k < weight.size(1); k++) {
    sums.addcmul_(embedding.narrow(1, k, 1), weight.select(1, k));
  }
  return sums;
}

// 'w' has for each map weight and bias, with those of a norm between: ten tensors.
template <class T>
RadialNetwork<T> make_radial(const std::vector<Tensor> &w, const Tensor &sender_embedding,
                             const Tensor &receiver_embedding, Packing packing)
{
  const int64_t width = sender_embedding.size(1), basis = w[0].size(1) - 2 * width;
  require(basis > 1, "radial networks on two or more Gaussians");
  RadialNetwork<T> radial;
  radial.first = Map<T>(w[0].narrow(1, 0, basis), Tensor(), packing);
  radial.sender_table = table(sender_embedding, w[0].narrow(1, basis, width));
  radial.receiver_table = table(receiver_embedding, w[0].narrow(1, basis + width, width)) + w[1];
  radial.first_norm = {w[2].contiguous(), w[3].contiguous()};
  radial.second = Map<T>(w[4], w[5], packing);
  radial.second_norm = {w[6].contiguous(), w[7].contiguous()};
  radial.third = Map<T>(w[8], w[9], packing);
  return radial;
}

// The map and the bias of order 0, then the maps of the others.
template <class T>
Convolution<T> make_convolution(const std::vector<Tensor> &w, size_t start, int orders,
                                Packing packing)
{
  Convolution<T> convolution{Map<T>(w[start], w[start + 1], packing), {}};
  for (int m = 1; m <= orders; m++) convolution.others.emplace_back(w[start + 1 + m], packing);
  return convolution;
}

Norm make_norm(const Tensor &weight, const Tensor &bias)
{
  return {weight.contiguous(), bias.contiguous()};
}

// weight: (degrees, out, in); the bias is that of degree 0.
template <class T>
std::vector<Map<T>> make_maps(const Tensor &weight, const Tensor &bias, Packing packing)
{
  std::vector<Map<T>> maps;
  for (int64_t l = 0; l < weight.size(0); l++) {
    maps.emplace_back(weight[l], l == 0 ? bias : Tensor(), packing);
  }
  return maps;
}

template <class T> NodeNetwork<T> make_node_network(const std::vector<Tensor> &w, Packing packing)
{
  require(w.size() == NODE, "norms, gates and maps of nodes");
  return {make_norm(w[0], w[1]), make_norm(w[2], w[3]), Map<T>(w[4], w[5], packing),
          make_maps<T>(w[6], w[7], packing), make_maps<T>(w[8], w[9], packing)};
}

template <class T> Readout<T> make_readout(const std::vector<Tensor> &w, Packing packing)
{
  require(w.size() == READOUT, "a norm, three maps and references of the readout");
  return {make_norm(w[0], w[1]),       Map<T>(w[2], w[3], packing), Map<T>(w[4], w[5], packing),
          Map<T>(w[6], w[7], packing), w[6].contiguous(),           w[8].to(at::kDouble)};
}

Sizes find_sizes(const Weights &weights)
{
  require(weights.edges.size() == 3 + RADIAL, "embeddings, Gaussians and a radial network");
  require(!weights.layers.empty() && weights.layers[0].size() >= RADIAL + 4, "messages");
  const auto &layer = weights.layers[0];
  Sizes sizes{};
  sizes.lmax = int(weights.lmax);
  sizes.mmax = int(layer.size() - RADIAL - 4) / 2;
  require(sizes.lmax >= 1 && sizes.lmax <= LARGEST_DEGREE, "degrees up to 6");
  require(sizes.mmax <= sizes.lmax, "orders up to the largest degree");
  const int degrees = sizes.lmax + 1;
  const Tensor &second_zero = layer[RADIAL + 2 + sizes.mmax];
  require(second_zero.dim() == 2, "merged weights");
  sizes.channels = int(second_zero.size(0)) / degrees;
  sizes.hidden_channels = int(second_zero.size(1)) / degrees;
  sizes.edge_channels = int(weights.edges[0].size(1));
  sizes.num_basis = int(weights.edges[2].numel());
  return sizes;
}

}    // namespace

template <class T>
Map<T>::Map(const Tensor &weight, const Tensor &bias, Packing packing) :
    in(int(weight.size(1))),
    out(int(weight.size(0))),
    parts_(split(weight.t(), packing)),
    reverse_parts_(split(weight, packing)),
    panels_(parts_.defined() ? Tensor() : pack(weight.t(), packing.panel)),
    reverse_panels_(reverse_parts_.defined() ? Tensor() : pack(weight, packing.panel))
{
  if (!bias.defined()) return;
  bias_ = at::zeros({filled_up(out, packing.panel)}, bias.options());
  bias_.narrow(0, 0, out).copy_(bias);
}

template <class T> ComplexMap<T>::ComplexMap(const Tensor &weight, Packing packing)
{
  if (!packing.three) {
    maps_.emplace_back(weight, Tensor(), packing);
    return;
  }
  const int64_t out = weight.size(0) / 2, in = weight.size(1) / 2;
  const auto real = weight.narrow(0, 0, out).narrow(1, 0, in);
  const auto imaginary = weight.narrow(0, out, out).narrow(1, 0, in);
  for (const Tensor &part : {real, -(real + imaginary), imaginary - real}) {
    maps_.emplace_back(part, Tensor(), packing);
  }
}

template <class T> ComplexMatrix<T> ComplexMap<T>::forward() const
{
  if (maps_.size() == 1) return {maps_[0].forward(), {}, {}, {}};
  return {{}, maps_[0].forward(), maps_[1].forward(), maps_[2].forward()};
}

// The reverse is the product with the transposed matrix, R^T - i I^T: the other two change places.
template <class T> ComplexMatrix<T> ComplexMap<T>::reverse() const
{
  if (maps_.size() == 1) return {maps_[0].reverse(), {}, {}, {}};
  return {{}, maps_[0].reverse(), maps_[2].reverse(), maps_[1].reverse()};
}

template <class T>
Network<T>::Network(const Weights &weights, Packing packing) :
    sizes(find_sizes(weights)),
    cutoff(weights.cutoff),
    centers(weights.edges[2].to(weights.edges[0].scalar_type()).contiguous())
{
  const Tensor &senders = weights.edges[0], &receivers = weights.edges[1];
  const std::vector<Tensor> radial(weights.edges.begin() + 3, weights.edges.end());
  first_message = make_radial<T>(radial, senders, receivers, packing);
  const size_t second = RADIAL + 2 + sizes.mmax;
  for (const auto &w : weights.layers) {
    require(w.size() == second + 2 + sizes.mmax, "layers alike");
    layers.push_back({make_radial<T>(w, senders, receivers, packing),
                      make_convolution<T>(w, RADIAL, sizes.mmax, packing),
                      make_convolution<T>(w, second, sizes.mmax, packing)});
  }
  require(weights.nodes.size() == layers.size(), "as many updates as messages");
  for (const auto &w : weights.nodes) nodes.push_back(make_node_network<T>(w, packing));
  readout = make_readout<T>(weights.readout, packing);
}

template <class T> Constants<T> make_constants(const Sizes &s, double cutoff)
{
  const int gates = s.lmax * s.hidden_channels;
  const double step = cutoff / (s.num_basis - 1);
  Constants<T> constants{
      s,
      FrameLayout(s.lmax, s.mmax),
      Layout(s.lmax, s.mmax, 2 * s.channels),
      Layout(s.lmax, s.mmax, 2 * s.channels, false),
      Layout(s.lmax, s.mmax, s.hidden_channels),
      Layout(s.lmax, s.mmax, s.channels),
      Layout(s.lmax, 0, s.channels),
      gates,
      T(cutoff),
      T(-0.5 / (4 * step * step)),
      T(NORM_EPSILON),
      {},
  };
  for (int l = 0; l <= s.lmax; l++) {
    for (int m = 0; m < l; m++) constants.generators[l][m] = T(generator(l, m));
  }
  return constants;
}

template class Map<float>;
template class Map<double>;
template class ComplexMap<float>;
template class ComplexMap<double>;
template struct Network<float>;
template struct Network<double>;
template Constants<float> make_constants<float>(const Sizes &, double);
template Constants<double> make_constants<double>(const Sizes &, double);

}    // namespace uma::kernels
