// SPDX-License-Identifier: MIT
// The stages and the selection of edges as classes of torch, for Python.

#include "edge_selection.h"
#include "stages.h"

#include <torch/custom_class.h>
#include <torch/library.h>

namespace uma::kernels {
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;

class Holder final : public torch::CustomClassHolder {
 public:
  Holder(int64_t lmax, double cutoff, Tensors edges, std::vector<Tensors> layers,
         std::vector<Tensors> nodes, Tensors readout, const std::string &driver,
         const std::string &precision, int64_t graphs) :
      stages_(Stages::make(
          {lmax, cutoff, std::move(edges), std::move(layers), std::move(nodes), std::move(readout)},
          driver, find_precision(precision).value(), Graphs(graphs)))
  {
  }

  int64_t bytes_per_edge(int64_t keep) { return stages_->bytes_per_edge(Keep(keep)); }
  int64_t bytes_at_work() { return stages_->bytes_at_work(); }
  int64_t bytes_held() { return stages_->bytes_held(); }
  int64_t recordings() { return stages_->recordings(); }
  void set_edges(const Tensor &vectors, const Tensor &senders, const Tensor &receivers,
                 const Tensor &atomic_numbers, int64_t num_owned, int64_t num_inner, int64_t chunk)
  {
    stages_->set_edges({vectors, senders, receivers, atomic_numbers, num_owned, 0, num_inner},
                       chunk);
  }
  int64_t inner_runs() { return stages_->inner_runs(); }
  Tensor embedding() { return stages_->embedding(); }
  Tensor messages(int64_t layer, const Tensor &h, int64_t keep, int64_t run,
                  const std::optional<Tensor> &m)
  {
    return stages_->messages(layer, h, Keep(keep), run, m.value_or(Tensor()));
  }
  Tensor reverse_messages(int64_t layer, const Tensor &h, const Tensor &g, int64_t run,
                          const std::optional<Tensor> &g_h)
  {
    return stages_->reverse_messages(layer, h, g, run, g_h.value_or(Tensor()));
  }
  void reverse_embedding(const Tensor &g) { stages_->reverse_embedding(g); }
  Tensor gradients() { return stages_->gradients(); }
  Tensor normalize(int64_t layer, const Tensor &x) { return stages_->normalize(layer, x); }
  Tensor reverse_normalize(int64_t layer, const Tensor &x, const Tensor &g)
  {
    return stages_->reverse_normalize(layer, x, g);
  }
  Tensor update(int64_t layer, const Tensor &x, const Tensor &m)
  {
    return stages_->update(layer, x, m);
  }
  Tensor reverse_update(int64_t layer, const Tensor &x, const Tensor &m, const Tensor &g)
  {
    return stages_->reverse_update(layer, x, m, g);
  }
  std::tuple<Tensor, Tensor> readout(const Tensor &x, const Tensor &atomic_numbers)
  {
    return stages_->readout(x, atomic_numbers);
  }

 private:
  std::unique_ptr<Stages> stages_;
};

class SelectionHolder final : public torch::CustomClassHolder {
 public:
  std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>
  select(const Tensor &receivers, const Tensor &senders, const Tensor &points, const Tensor &rows,
         const std::optional<Tensor> &ranges, int64_t num_receivers, double cutoff)
  {
    auto found =
        select_({receivers.contiguous(), senders.contiguous(), points.contiguous(), num_receivers,
                 rows.contiguous(), ranges ? ranges->contiguous() : Tensor()},
                cutoff);
    return {found.vectors, found.senders, found.receivers, found.nearest, found.neighbors};
  }

 private:
  EdgeSelection select_;
};

TORCH_LIBRARY(uma_md, library)
{
  library.def("supports(Device device) -> bool",
              [](at::Device device) { return Stages::supports(device); });
  library.def("bf16_instructions() -> str", [] {
    const char *found = Stages::bf16_instructions();
    return std::string(found ? found : "");
  });
  library.class_<SelectionHolder>("EdgeSelection")
      .def(torch::init<>())
      .def("select", &SelectionHolder::select);
  library.class_<Holder>("Stages")
      .def(torch::init<int64_t, double, Tensors, std::vector<Tensors>, std::vector<Tensors>,
                       Tensors, std::string, std::string, int64_t>())
      .def("bytes_per_edge", &Holder::bytes_per_edge)
      .def("bytes_at_work", &Holder::bytes_at_work)
      .def("bytes_held", &Holder::bytes_held)
      .def("recordings", &Holder::recordings)
      .def("set_edges", &Holder::set_edges)
      .def("embedding", &Holder::embedding)
      .def("inner_runs", &Holder::inner_runs)
      .def("messages", &Holder::messages)
      .def("reverse_messages", &Holder::reverse_messages)
      .def("reverse_embedding", &Holder::reverse_embedding)
      .def("gradients", &Holder::gradients)
      .def("normalize", &Holder::normalize)
      .def("reverse_normalize", &Holder::reverse_normalize)
      .def("update", &Holder::update)
      .def("reverse_update", &Holder::reverse_update)
      .def("readout", &Holder::readout);
}

}    // namespace
}    // namespace uma::kernels
