// SPDX-License-Identifier: GPL-2.0-only

#include "potential.h"

#include "mpi_errors.h"
#include "portable_stages.h"

#include "fmt/format.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace uma {
namespace {

bool through_host(ExchangeChoice choice)
{
  if (choice == ExchangeChoice::Auto) return !mpi_reads_device_memory();
  return choice == ExchangeChoice::Host;
}

// The first and the last, or all where some between are not known.
std::string known_elements(const std::vector<std::string> &elements)
{
  if (std::find(elements.begin(), elements.end(), "") == elements.end())
    return fmt::format("{} to {}", elements.front(), elements.back());
  std::string text;
  for (const auto &symbol : elements) {
    if (!symbol.empty()) text += (text.empty() ? "" : ", ") + symbol;
  }
  return text;
}

void check_merged(const Metadata &metadata, const Options &options)
{
  if (!metadata.composition) return;
  const auto charge = options.charge.value_or(metadata.charge);
  const auto spin = options.spin.value_or(metadata.spin);
  if (charge == metadata.charge && spin == metadata.spin) return;
  throw std::runtime_error(fmt::format(
      "pair_style uma: charge and spin must be those that the file is merged for, {} and {}, found "
      "{} and {}; export the model again with them, or without --merge-for",
      metadata.charge, metadata.spin, charge, spin));
}

constexpr size_t MOST_LISTED = 16;    // ranks whose devices the log names

std::vector<int64_t> gather(int64_t value, MPI_Comm world)
{
  int nprocs = 1;
  MPI_Comm_size(world, &nprocs);
  std::vector<int64_t> values(nprocs);
  or_end(MPI_Allgather(&value, 1, MPI_INT64_T, values.data(), 1, MPI_INT64_T, world));
  return values;
}

// "4", or "1 to 4".
std::string range(const std::vector<int64_t> &values)
{
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return *least == *most ? fmt::format("{}", *most) : fmt::format("{} to {}", *least, *most);
}

// What keeps the kernels from serving, or nothing.
std::string obstacle(const ScriptedModel &model)
{
  const auto device = model.device();
  if (!kernels::Stages::supports(device)) return "there are none for " + device.str();
  if (!model.has_weights()) return "the file was exported by an older uma-md";
  return "";
}

void check_precision(const Options &options, const ScriptedModel &model, bool kernels_serve)
{
  using kernels::Precision;
  if (options.precision == Precision::Float32) return;
  const std::string start =
      std::string("pair_style uma: precision ") + kernels::word(options.precision);
  if (model.dtype() != at::kFloat) {
    throw std::runtime_error(start + " must have a file in float32, found " +
                             model.metadata().dtype + "; leave precision out");
  }
  const bool on_cpu = kernels::is_for_cpus(options.precision);
  if (on_cpu ? !model.device().is_cpu() : !model.device().is_cuda()) {
    throw std::runtime_error(start + " must run on " + (on_cpu ? "cpu" : "cuda") + ", found " +
                             model.device().str() + "; use precision float32");
  }
  if (options.precision != Precision::TF32 && !kernels_serve) {
    throw std::runtime_error(start + " must have engine kernels, found portable; use precision "
                                     "float32, or see with engine kernels what these need");
  }
  if (on_cpu && kernels::Stages::bf16_instructions() == nullptr) {
    throw std::runtime_error(start + " must have a processor with bfloat16 (AMX, or AVX-512 with "
                                     "BF16) and a compiler that knows it, found none; use "
                                     "precision float32");
  }
}

}    // namespace

Potential::Potential(const std::string &file, const Options &options, Placement placement,
                     std::shared_ptr<const NodeRanks> node) :
    options_(options),
    placement_(placement),
    node_(std::move(node)),
    model_(file, placement.device, options.trust, node_),
    graph_(placement.device, model_.dtype(), model_.metadata().cutoff,
           model_.metadata().max_neighbors),
    plan_(options.recompute, options.chunk, model_.num_layers(), placement.device,
          placement.sharers),
    stream_(placement.device,
            options.engine != EngineChoice::Portable && options.graphs != kernels::Graphs::Off)
{
  check_merged(metadata(), options_);
  options_.charge = options_.charge.value_or(metadata().charge);
  options_.spin = options_.spin.value_or(metadata().spin);
  const auto missing = obstacle(model_);
  if (options_.engine == EngineChoice::Kernels && !missing.empty()) {
    throw std::runtime_error("pair_style uma: engine kernels needs kernels, but " + missing +
                             "; use engine auto or portable");
  }
  check_precision(options_, model_, missing.empty() && options_.engine != EngineChoice::Portable);
}

int Potential::atomic_number(const std::string &symbol) const
{
  const auto &known = metadata().elements;
  const auto found = std::find(known.begin(), known.end(), symbol);
  if (!symbol.empty() && found != known.end()) return int(found - known.begin()) + 1;
  throw std::runtime_error(fmt::format(
      "pair_coeff: each atom type must be NULL or an element that model {} knows ({}), found '{}'; "
      "correct the name, or use another model",
      metadata().model_id, known_elements(known), symbol));
}

void Potential::connect(MPI_Comm world)
{
  exchange_ =
      std::make_unique<HaloExchange>(world, placement_.device, through_host(options_.exchange));
  evaluator_ = std::make_unique<Evaluator>(model_, *exchange_);
}

void Potential::set_composition(const std::vector<int64_t> &counts)
{
  if (has_composition(counts)) return;
  natoms_ = std::accumulate(counts.begin(), counts.end(), int64_t(0));
  if (natoms_ > 0) check_composition(counts);
  if (natoms_ > 0) merge(counts);
  counts_ = counts;
}

void Potential::merge(const std::vector<int64_t> &counts)
{
  const auto start = std::chrono::steady_clock::now();
  const kernels::Float32Products products(kernels::Precision::Float32);
  auto per_number = at::zeros({model_.max_num_elements()}, at::kLong);
  for (size_t z = 0; z < counts.size(); z++) per_number[int64_t(z)] = counts[z];
  model_.merge(per_number, *options_.charge, *options_.spin);
  node_->together([this] { make_stages(); });
  merges_.seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  merges_.count++;
}

void Potential::make_stages()
{
  if (options_.engine == EngineChoice::Portable || !obstacle(model_).empty()) {
    stages_ = std::make_unique<PortableStages>(model_);
  } else {
    stages_ = kernels::Stages::make(model_.weights(), "", options_.precision, options_.graphs);
  }
}

void Potential::check_composition(const std::vector<int64_t> &counts) const
{
  if (!metadata().composition) return;
  std::vector<int64_t> merged(counts.size(), 0);
  for (const auto &[symbol, count] : *metadata().composition) {
    merged[atomic_number(symbol)] = count;
  }
  const bool exact = metadata().composition_exact;
  const int64_t total = std::accumulate(merged.begin(), merged.end(), int64_t(0));
  bool same = true;
  for (size_t z = 0; z < counts.size(); z++) {
    same = same && (exact ? counts[z] == merged[z] : counts[z] * total == merged[z] * natoms_);
  }
  if (same) return;
  throw std::runtime_error(
      fmt::format("pair_style uma: the atoms must have the {}composition that the file is merged "
                  "for, {}, found "
                  "{}; export the model for this system, or without --merge-for",
                  exact ? "" : "relative ", formula(merged), formula(counts)));
}

std::string Potential::formula(const std::vector<int64_t> &counts) const
{
  std::string text;
  for (size_t z = 1; z < counts.size(); z++) {
    if (counts[z] > 0) text += fmt::format("{}{}", metadata().elements[z - 1], counts[z]);
  }
  return text.empty() ? "no atoms" : text;
}

void Potential::set_candidates(EdgeGraph::Candidates candidates, const std::vector<Owner> &owners)
{
  std::vector<char> needed(owners.size(), 0);
  const int *sender = candidates.pairs.senders.data_ptr<int>();
  for (int64_t k = 0; k < candidates.pairs.size(); k++) needed[sender[k]] = 1;
  candidates.rows = exchange_->plan(owners, needed, candidates.num_owned);
  candidates.num_rows = candidates.num_owned + exchange_->num_remote();
  graph_.set_candidates(candidates);
}

Result Potential::evaluate(const double *positions, int64_t num_atoms, bool with_atom_virials)
{
  const kernels::Float32Products products(options_.precision);
  load_ = {};
  double seconds = 0.0;
  const auto result = [&] {
    const Stopwatch watch(seconds);
    return evaluate_graph(positions, num_atoms, with_atom_virials);
  }();
  load_.step = seconds;
  return result;
}

Result Potential::evaluate_graph(const double *positions, int64_t num_atoms, bool with_atom_virials)
{
  graph_.update(on_device(positions, num_atoms));
  if (natoms_ > 0) {
    const auto &plan = plan_(graph_.num_edges(), *stages_);
    const auto evaluation = [&] {
      const kernels::SideStream::Scope scope(stream_);
      return (*evaluator_)(graph_, *stages_, plan, natoms_);
    }();
    load_ = evaluator_->load();
    return read(evaluation, num_atoms, with_atom_virials);
  }
  Result result;
  result.energies = at::zeros({0}, at::kDouble);
  result.forces = at::zeros({num_atoms, 3}, at::kDouble);
  result.atom_virials = at::zeros({num_atoms, 3, 3}, at::kDouble);
  return result;
}

// The copy is not waited for: the results are, before LAMMPS moves its atoms.
at::Tensor Potential::on_device(const double *positions, int64_t num_atoms)
{
  const auto x = at::from_blob(const_cast<double *>(positions), {num_atoms, 3}, at::kDouble);
  if (placement_.device.is_cpu()) return x;
  return positions_.like(x).copy_(x).to(placement_.device, /*non_blocking=*/true);
}

// All that the host needs to know comes in one copy.
Result Potential::read(const Evaluation &evaluation, int64_t num_atoms,
                       bool with_atom_virials) const
{
  RECORD_USER_SCOPE("forces");
  const auto &gradients = evaluation.gradients;
  std::vector<at::Tensor> parts = {evaluation.energies, graph_.forces(gradients).flatten(),
                                   graph_.virial(gradients).flatten(), graph_.extremes()};
  if (with_atom_virials) parts.push_back(graph_.atom_virials(gradients).flatten());
  std::vector<int64_t> sizes;
  for (const auto &part : parts) sizes.push_back(part.numel());
  const auto found = on_host(at::cat(parts)).split(sizes);
  Result result;
  result.energies = found[0];
  result.energy = found[0].sum().item<double>();
  result.forces = found[1].view({num_atoms, 3});
  std::copy_n(found[2].data_ptr<double>(), 9, result.virial.begin());
  const double *extremes = found[3].data_ptr<double>();
  result.coincident = extremes[0];
  result.neighbors = extremes[1];
  if (with_atom_virials) result.atom_virials = found[4].view({num_atoms, 3, 3});
  return result;
}

void Potential::check_graph(const Result &result) const
{
  graph_.check(result.coincident, result.neighbors);
  // In a wide periodic box as well: an atom that has no image within the cutoff is isolated.
  const bool isolated = natoms_ == 1 && graph_.num_owned() == 1 && graph_.num_edges() == 0;
  if (isolated && !metadata().supports_single_atoms) {
    throw std::runtime_error(fmt::format(
        "pair_style uma: {} does not describe a single isolated atom: use its isolated-atom "
        "reference energy, or a model that supports single atoms",
        metadata().model_id));
  }
}

void Potential::check_values(const Result &result) const
{
  if (std::isfinite(result.energy) && result.forces.isfinite().all().item<bool>()) return;
  throw std::runtime_error("pair_style uma: energy and forces must be finite, but the model gave "
                           "NaN or infinity; check the structure for atoms too close to each "
                           "other, and the time step");
}

std::string Potential::description(MPI_Comm world) const
{
  const auto &record = metadata();
  const auto meaning = purpose(record.model_id, record.task);
  return fmt::format("pair_style uma: model {}, task {}, charge {}, spin {}, {}, cutoff {} A\n"
                     "{}"
                     "  composition: {} ({} atoms){}\n"
                     "  devices: {}\n"
                     "  engine: {}, precision {}\n"
                     "  memory: {}, chunks of {} edges\n",
                     record.model_id, record.task, *options_.charge, *options_.spin, record.dtype,
                     record.cutoff,
                     meaning.empty() ? "" : fmt::format("  {}: {}\n", record.task, meaning),
                     formula(counts_), natoms_, record.composition ? ", merged at export" : "",
                     describe_devices(world), describe_engine(), describe_precision(),
                     describe_memory(world), range(gather(plan_.latest().chunk, world)));
}

Situation Potential::situation() const
{
  Situation situation;
  situation.model = metadata().model_id;
  situation.task = metadata().task;
  situation.charge = *options_.charge;
  situation.spin = *options_.spin;
  situation.counts = counts_;
  return situation;
}

std::string Potential::describe_devices(MPI_Comm world) const
{
  const auto indices = gather(placement_.device.index(), world);
  const auto threads = gather(at::get_num_threads(), world);
  const bool single = *std::max_element(threads.begin(), threads.end()) == 1;
  auto text = fmt::format("{} MPI rank{} with {} thread{} each", indices.size(),
                          indices.size() == 1 ? "" : "s", range(threads), single ? "" : "s");
  const auto kind = c10::DeviceTypeName(placement_.device.type(), /*lower_case=*/true);
  if (placement_.device.is_cpu()) return text + " on " + kind;
  text += fmt::format("; {} of each rank:", kind);
  for (size_t rank = 0; rank < std::min(indices.size(), MOST_LISTED); rank++) {
    text += fmt::format(" {}", indices[rank]);
  }
  if (indices.size() > MOST_LISTED) text += " ...";
  return text + (through_host(options_.exchange) ? "; messages through host memory"
                                                 : "; messages from device memory");
}

std::string Potential::describe_engine() const
{
  if (options_.engine == EngineChoice::Portable) return "portable";
  const auto missing = obstacle(model_);
  return missing.empty() ? "kernels" : fmt::format("portable ({})", missing);
}

std::string Potential::describe_precision() const
{
  if (model_.dtype() != at::kFloat) return metadata().dtype;
  const std::string word = kernels::word(options_.precision);
  if (!kernels::is_for_cpus(options_.precision)) return word;
  return fmt::format("{} by {}", word, kernels::Stages::bf16_instructions());
}

std::string Potential::describe_memory(MPI_Comm world) const
{
  const auto keeping = gather(int(plan_.latest().keep), world);
  const auto ranks = [&](kernels::Keep keep) {
    return std::count(keeping.begin(), keeping.end(), int(keep));
  };
  const auto all = int64_t(keeping.size());
  if (ranks(kernels::Keep::Nothing) == all) return "messages recomputed in the reverse sweep";
  const auto kept = ranks(kernels::Keep::All) + ranks(kernels::Keep::Both);
  if (ranks(kernels::Keep::First) == all) return "messages partly kept for the reverse sweep";
  if (kept == all) return "messages kept for the reverse sweep";
  return fmt::format("messages kept for the reverse sweep on {} of {} ranks, partly on {}, "
                     "recomputed on the others",
                     kept, all, ranks(kernels::Keep::First));
}

}    // namespace uma
