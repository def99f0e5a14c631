// SPDX-License-Identifier: GPL-2.0-only

#include "potential.h"

#include "fmt/format.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace uma {
namespace {

// Large enough to keep the device busy, small enough to fit beside everything else.
int64_t default_chunk(at::Device device)
{
  return device.is_cpu() ? 1024 : 16384;
}

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

std::vector<int> gather(int value, MPI_Comm world)
{
  int nprocs = 1;
  MPI_Comm_size(world, &nprocs);
  std::vector<int> values(nprocs);
  MPI_Allgather(&value, 1, MPI_INT, values.data(), 1, MPI_INT, world);
  return values;
}

}    // namespace

Potential::Potential(const std::string &file, const Options &options, Placement placement) :
    options_(options),
    placement_(placement),
    model_(file, placement.device, options.trust),
    graph_(placement.device, model_.dtype(), model_.metadata().cutoff,
           model_.metadata().max_neighbors)
{
  check_merged(metadata(), options_);
  options_.charge = options_.charge.value_or(metadata().charge);
  options_.spin = options_.spin.value_or(metadata().spin);
  options_.chunk = options_.chunk.value_or(default_chunk(placement_.device));
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
  evaluator_ = std::make_unique<Evaluator>(model_, *exchange_, *options_.chunk);
}

void Potential::set_composition(const std::vector<int64_t> &counts)
{
  if (counts == counts_) return;
  natoms_ = std::accumulate(counts.begin(), counts.end(), int64_t(0));
  if (natoms_ > 0) check_composition(counts);
  if (natoms_ > 0) merge(counts);
  counts_ = counts;
}

void Potential::merge(const std::vector<int64_t> &counts)
{
  const auto start = std::chrono::steady_clock::now();
  auto per_number = at::zeros({model_.max_num_elements()}, at::kLong);
  for (size_t z = 0; z < counts.size(); z++) per_number[int64_t(z)] = counts[z];
  model_.merge(per_number, *options_.charge, *options_.spin);
  merges_.seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  merges_.count++;
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
  for (const int64_t sender : candidates.senders) needed[sender] = 1;
  candidates.rows = exchange_->plan(owners, needed, candidates.num_owned);
  candidates.num_rows = candidates.num_owned + exchange_->num_remote();
  graph_.set_candidates(candidates);
}

// Decided anew only when there are many more edges: memory that torch has cached looks taken.
bool Potential::keeps_graph()
{
  if (options_.recompute != RecomputeChoice::Auto) {
    return keep_ = options_.recompute == RecomputeChoice::Off;
  }
  if (planned_edges_ >= 0 && graph_.num_edges() <= planned_edges_ + planned_edges_ / 10) {
    return keep_;
  }
  planned_edges_ = graph_.num_edges();
  const double need =
      double(planned_edges_) * double(model_.num_layers() * metadata().bytes_per_edge);
  keep_ = need <= 0.5 * double(available_memory(placement_));
  return keep_;
}

Result Potential::evaluate(const double *positions, int64_t num_atoms, bool with_atom_virials)
{
  const auto x = at::from_blob(const_cast<double *>(positions), {num_atoms, 3}, at::kDouble);
  graph_.update(x);
  Result result;
  if (natoms_ == 0) {
    result.energies = at::zeros({0}, at::kDouble);
    result.forces = at::zeros({num_atoms, 3}, at::kDouble);
    result.atom_virials = at::zeros({num_atoms, 3, 3}, at::kDouble);
    return result;
  }
  const auto evaluation = (*evaluator_)(graph_, keeps_graph(), natoms_);
  const auto &gradients = evaluation.gradients;
  result.energies = evaluation.energies.to(at::kCPU);
  result.energy = result.energies.sum().item<double>();
  result.forces = graph_.forces(gradients).to(at::kCPU);
  const auto virial = graph_.virial(gradients).to(at::kCPU).contiguous();
  std::copy_n(virial.data_ptr<double>(), 9, result.virial.begin());
  if (with_atom_virials) result.atom_virials = graph_.atom_virials(gradients).to(at::kCPU);
  return result;
}

void Potential::check(const Result &result) const
{
  // In a wide periodic box as well: an atom that has no image within the cutoff is isolated.
  const bool isolated = natoms_ == 1 && graph_.num_owned() == 1 && graph_.num_edges() == 0;
  if (isolated && !metadata().supports_single_atoms) {
    throw std::runtime_error(fmt::format(
        "pair_style uma: {} does not describe a single isolated atom: use its isolated-atom "
        "reference energy, or a model that supports single atoms",
        metadata().model_id));
  }
  if (std::isfinite(result.energy) && result.forces.isfinite().all().item<bool>()) return;
  throw std::runtime_error("pair_style uma: energy and forces must be finite, but the model gave "
                           "NaN or infinity; check the structure for atoms too close to each "
                           "other, and the time step");
}

std::string Potential::description(MPI_Comm world) const
{
  const auto &record = metadata();
  return fmt::format("pair_style uma: model {}, task {}, charge {}, spin {}, {}, cutoff {} A\n"
                     "  composition: {} ({} atoms){}\n"
                     "  devices: {}\n"
                     "  memory: {}, chunks of {} edges\n",
                     record.model_id, record.task, *options_.charge, *options_.spin, record.dtype,
                     record.cutoff, formula(counts_), natoms_,
                     record.composition ? ", merged at export" : "", describe_devices(world),
                     describe_memory(world), *options_.chunk);
}

std::string Potential::describe_devices(MPI_Comm world) const
{
  const auto indices = gather(placement_.device.index(), world);
  const auto threads = gather(at::get_num_threads(), world);
  const auto [fewest, most] = std::minmax_element(threads.begin(), threads.end());
  auto text = fmt::format(
      "{} MPI rank{} with {}{} thread{} each", indices.size(), indices.size() == 1 ? "" : "s",
      *fewest, *fewest == *most ? "" : fmt::format(" to {}", *most), *most == 1 ? "" : "s");
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

std::string Potential::describe_memory(MPI_Comm world) const
{
  const auto keeping = gather(int(keep_), world);
  const auto ranks = std::count(keeping.begin(), keeping.end(), 1);
  if (ranks == 0) return "messages recomputed in the reverse sweep";
  if (ranks == int64_t(keeping.size())) return "messages kept for the reverse sweep";
  return fmt::format("messages kept for the reverse sweep on {} of {} ranks, recomputed on the "
                     "others",
                     ranks, keeping.size());
}

}    // namespace uma
