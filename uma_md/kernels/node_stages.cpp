// SPDX-License-Identifier: MIT

#include "node_stages.h"

#include "parallel.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

namespace uma::kernels {

using at::Tensor;

template <class T>
NodeStages<T>::NodeStages(const Network<T> &network, const Constants<T> &constants,
                          Backend<T> &backend) :
    network_(network),
    sizes_(network.sizes),
    epsilon_(constants.epsilon),
    backend_(backend),
    kernels_(backend.node_kernels())
{
}

// Calls work(first node, nodes, workspace) for blocks of nodes.
template <class T>
template <class Work>
void NodeStages<T>::for_blocks(int64_t num_nodes, const Work &work)
{
  const int64_t block = backend_.nodes_at_a_time(num_nodes);
  const int64_t most = backend_.nodes_at_a_time(Buffer::UNLIMITED);
  const auto options = network_.centers.options();
  workspaces_.resize(backend_.concurrency());
  for (Workspace &w : workspaces_) {
    for (Buffer *buffer : {&w.a, &w.c}) buffer->reserve(block, sizes_.node_width(), options, most);
    for (Buffer *buffer : {&w.u, &w.v, &w.g_u}) {
      buffer->reserve(block, sizes_.coefficients() * sizes_.hidden_channels, options, most);
    }
    w.scalars.reserve(block, sizes_.channels, options, most);
    for (Buffer *buffer : {&w.gates, &w.g_gates}) {
      buffer->reserve(block, sizes_.lmax * sizes_.hidden_channels, options, most);
    }
    for (Buffer *buffer : {&w.first, &w.second, &w.g_hidden}) {
      buffer->reserve(block, sizes_.hidden_channels, options, most);
    }
  }
  const auto blocks = int((num_nodes + block - 1) / block);
  share_out(0, blocks, int64_t(workspaces_.size()), options.device(), [&](int k, int64_t thread) {
    const int64_t first = k * block;
    work(first, int(std::min(block, num_nodes - first)), workspaces_[thread]);
  });
}

template <class T> void NodeStages<T>::apply(const Map<T> &map, int rows, const T *x, T *out) const
{
  backend_.multiply(rows, x, map.in, map.forward(), map.bias(), out, map.out);
}

template <class T>
void NodeStages<T>::apply_reverse(const Map<T> &map, int rows, const T *g, T *out) const
{
  backend_.multiply(rows, g, map.out, map.reverse(), nullptr, out, map.in);
}

// One map for each degree, of rows by coefficient.
template <class T>
void NodeStages<T>::convolve(const std::vector<Map<T>> &maps, int num, const T *x, T *out) const
{
  for (int l = 0; l <= sizes_.lmax; l++) {
    const int64_t start = int64_t(l) * l * num;
    apply(maps[l], (2 * l + 1) * num, x + start * maps[l].in, out + start * maps[l].out);
  }
}

template <class T>
void NodeStages<T>::convolve_reverse(const std::vector<Map<T>> &maps, int num, const T *g,
                                     T *out) const
{
  for (int l = 0; l <= sizes_.lmax; l++) {
    const int64_t start = int64_t(l) * l * num;
    apply_reverse(maps[l], (2 * l + 1) * num, g + start * maps[l].out, out + start * maps[l].in);
  }
}

// Rows by node: those by coefficient have other strides.
template <class T>
NormArguments<T> NodeStages<T>::norm(const Norm &norm, int num, const T *x, const T *m) const
{
  return {sizes_,
          num,
          x,
          m,
          norm.weight.template data_ptr<T>(),
          norm.bias.template data_ptr<T>(),
          epsilon_,
          sizes_.coefficients(),
          nullptr,
          sizes_.channels,
          sizes_.node_width()};
}

template <class T>
NormReverseArguments<T> NodeStages<T>::reverse_norm(const Norm &norm, int num, const T *x,
                                                    const T *m) const
{
  return {sizes_,
          num,
          x,
          m,
          norm.weight.template data_ptr<T>(),
          epsilon_,
          sizes_.coefficients(),
          nullptr,
          sizes_.channels,
          sizes_.node_width(),
          nullptr,
          nullptr,
          nullptr};
}

template <class T> Tensor NodeStages<T>::normalize(int64_t layer, const Tensor &x_in)
{
  const auto x = x_in.contiguous();
  const int64_t width = sizes_.node_width();
  auto out = at::empty_like(x);
  for_blocks(x.size(0), [&](int64_t first, int num, Workspace &) {
    auto arguments = norm(network_.nodes[layer].message_norm, num,
                          x.template data_ptr<T>() + first * width, nullptr);
    arguments.out = out.template data_ptr<T>() + first * width;
    kernels_.run(arguments);
  });
  return out;
}

template <class T>
Tensor NodeStages<T>::reverse_normalize(int64_t layer, const Tensor &x_in, const Tensor &g_in)
{
  const auto x = x_in.contiguous(), g = g_in.contiguous();
  const int64_t width = sizes_.node_width();
  auto out = at::empty_like(x);
  for_blocks(x.size(0), [&](int64_t first, int num, Workspace &) {
    auto arguments = reverse_norm(network_.nodes[layer].message_norm, num,
                                  x.template data_ptr<T>() + first * width, nullptr);
    arguments.g = g.template data_ptr<T>() + first * width;
    arguments.g_x = out.template data_ptr<T>() + first * width;
    kernels_.run(arguments);
  });
  return out;
}

// Normalized features a, gates, and what the gate makes of the first map, u and v.
template <class T>
void NodeStages<T>::forward(const NodeNetwork<T> &net, int num, const T *x, const T *m,
                            Workspace &w)
{
  auto arguments = norm(net.node_norm, num, x, m);
  arguments.out = w.a.template rows<T>();
  arguments.stride = int64(num) * sizes_.channels;
  arguments.node_stride = sizes_.channels;
  kernels_.run(arguments);
  apply(net.gates, num, w.a.template rows<T>(), w.gates.template rows<T>());
  convolve(net.first, num, w.a.template rows<T>(), w.u.template rows<T>());
}

template <class T>
Tensor NodeStages<T>::update(int64_t layer, const Tensor &x_in, const Tensor &m_in)
{
  const auto x = x_in.contiguous(), m = m_in.contiguous();
  const NodeNetwork<T> &net = network_.nodes[layer];
  const int64_t width = sizes_.node_width();
  auto out = at::empty_like(x);
  for_blocks(x.size(0), [&](int64_t first, int num, Workspace &w) {
    const T *x_rows = x.template data_ptr<T>() + first * width;
    const T *m_rows = m.template data_ptr<T>() + first * width;
    forward(net, num, x_rows, m_rows, w);
    kernels_.run(NodeGateArguments<T>{sizes_, num, w.gates.template rows<T>(),
                                      w.u.template rows<T>(), w.v.template rows<T>()});
    convolve(net.second, num, w.v.template rows<T>(), w.c.template rows<T>());
    kernels_.run(AddArguments<T>{sizes_, num, x_rows, m_rows, w.c.template rows<T>(),
                                 out.template data_ptr<T>() + first * width});
  });
  return out;
}

template <class T>
Tensor NodeStages<T>::reverse_update(int64_t layer, const Tensor &x_in, const Tensor &m_in,
                                     const Tensor &g_in)
{
  const auto x = x_in.contiguous(), m = m_in.contiguous(), g = g_in.contiguous();
  const NodeNetwork<T> &net = network_.nodes[layer];
  const int64_t width = sizes_.node_width();
  auto out = at::empty_like(x);
  for_blocks(x.size(0), [&](int64_t first, int num, Workspace &w) {
    const T *x_rows = x.template data_ptr<T>() + first * width;
    const T *m_rows = m.template data_ptr<T>() + first * width;
    const T *g_rows = g.template data_ptr<T>() + first * width;
    T *g_v = w.v.template rows<T>(), *g_u = w.g_u.template rows<T>();
    T *g_gates = w.g_gates.template rows<T>(), *g_a = w.a.template rows<T>();
    forward(net, num, x_rows, m_rows, w);
    kernels_.run(SortArguments<T>{sizes_, num, g_rows, w.c.template rows<T>()});
    convolve_reverse(net.second, num, w.c.template rows<T>(), g_v);
    kernels_.run(NodeGateReverseArguments<T>{sizes_, num, w.gates.template rows<T>(),
                                             w.u.template rows<T>(), g_v, g_gates, g_u});
    convolve_reverse(net.first, num, g_u, g_a);
    apply_reverse(net.gates, num, g_gates, w.scalars.template rows<T>());
    auto arguments = reverse_norm(net.node_norm, num, x_rows, m_rows);
    arguments.g = g_a;
    arguments.stride = int64(num) * sizes_.channels;
    arguments.node_stride = sizes_.channels;
    arguments.g_scalars = w.scalars.template rows<T>();
    arguments.more = g_rows;
    arguments.g_x = out.template data_ptr<T>() + first * width;
    kernels_.run(arguments);
  });
  return out;
}

template <class T>
std::pair<Tensor, Tensor> NodeStages<T>::readout(const Tensor &x_in, const Tensor &numbers)
{
  const auto x = x_in.contiguous();
  const Readout<T> &net = network_.readout;
  const int64_t width = sizes_.node_width(), H = sizes_.hidden_channels;
  auto energies = at::empty({x.size(0)}, x.options()), g_x = at::empty_like(x);
  for_blocks(x.size(0), [&](int64_t first, int num, Workspace &w) {
    const T *x_rows = x.template data_ptr<T>() + first * width;
    T *scalars = w.scalars.template rows<T>(), *hidden = w.g_hidden.template rows<T>();
    T *t1 = w.first.template rows<T>(), *t2 = w.second.template rows<T>();
    auto forward = norm(net.norm, num, x_rows, nullptr);
    forward.coefficients = 1;
    forward.out = scalars;
    forward.node_stride = sizes_.channels;
    kernels_.run(forward);
    apply(net.first, num, scalars, t1);
    kernels_.run(SiluArguments<T>{sizes_, num, t1, hidden});
    apply(net.second, num, hidden, t2);
    kernels_.run(SiluArguments<T>{sizes_, num, t2, hidden});
    apply(net.third, num, hidden, energies.template data_ptr<T>() + first);
    // The gradient of each energy with respect to itself is 1.
    kernels_.run(SiluReverseArguments<T>{sizes_, num, t2, net.last.template data_ptr<T>(), 0, t2});
    apply_reverse(net.second, num, t2, hidden);
    kernels_.run(SiluReverseArguments<T>{sizes_, num, t1, hidden, int(H), t1});
    apply_reverse(net.first, num, t1, scalars);
    auto reverse = reverse_norm(net.norm, num, x_rows, nullptr);
    reverse.coefficients = 1;
    reverse.g = scalars;
    reverse.node_stride = sizes_.channels;
    reverse.g_x = g_x.template data_ptr<T>() + first * width;
    kernels_.run(reverse);
  });
  return {energies.to(at::kDouble) + net.references.index_select(0, numbers), g_x};
}

template class NodeStages<float>;
template class NodeStages<double>;

}    // namespace uma::kernels
