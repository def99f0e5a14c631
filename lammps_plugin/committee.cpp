// SPDX-License-Identifier: GPL-2.0-only

#include "committee.h"

#include "fmt/format.h"

#include <ATen/TensorOperators.h>
#include <algorithm>
#include <stdexcept>
#include <utility>

namespace uma {
namespace {

constexpr int64_t USUAL_STEPS = 100;    // between rows of the file of deviations

[[noreturn]] void refuse(const std::string &what, const std::string &first,
                         const std::string &first_has, const std::string &other,
                         const std::string &other_has)
{
  throw std::runtime_error(fmt::format(
      "pair_style uma: members of a committee must have the same {}, found {} in {} and {} in {}; "
      "export them alike, from fine-tunes of one model",
      what, first_has, first, other_has, other));
}

// The first element that one of two models knows and the other does not.
void check_elements(const std::vector<std::string> &one, const std::vector<std::string> &other,
                    const std::string &file, const std::string &other_file)
{
  const std::vector<std::string> &longer = one.size() > other.size() ? one : other;
  for (size_t z = 0; z < longer.size(); z++) {
    const bool in_one = z < one.size() && !one[z].empty();
    const bool in_other = z < other.size() && !other[z].empty();
    if (in_one == in_other) continue;
    const std::string has = longer[z].empty() ? (in_one ? one : other)[z] : longer[z];
    refuse("elements", file, (in_one ? "" : "no ") + has, other_file,
           (in_other ? "" : "no ") + has);
  }
}

// Equal tensors give themselves, without rounding.
template <typename Part> auto mean(const std::vector<Result> &members, const Part &part)
{
  auto others = part(members.front()) * 0.0;
  for (size_t k = 1; k < members.size(); k++)
    others = others + (part(members[k]) - part(members[0]));
  return part(members.front()) + others / double(members.size());
}

}    // namespace

Committee::Committee(const std::vector<std::string> &files, const Options &options,
                     Placement placement, const std::shared_ptr<const NodeRanks> &node) :
    files_(files)
{
  placement.sharers *= int(files.size());    // of the memory
  for (const auto &file : files) {
    node->together(
        [&] { members_.push_back(std::make_unique<Potential>(file, options, placement, node)); });
  }
  check_alike(options);
  if (files.size() > 1) deviations_.emplace();
  if (options.deviations) {
    file_.emplace(*options.deviations, options.every.value_or(USUAL_STEPS));
  }
}

void Committee::check_alike(const Options &options) const
{
  const Metadata &first = metadata();
  for (size_t k = 1; k < members_.size(); k++) {
    const Metadata &other = members_[k]->metadata();
    const auto same = [&](const char *what, const auto &one, const auto &two) {
      if (one != two)
        refuse(what, files_[0], fmt::format("{}", one), files_[k], fmt::format("{}", two));
    };
    same("task", first.task, other.task);
    same("cutoff", first.cutoff, other.cutoff);
    same("precision", first.dtype, other.dtype);
    check_elements(first.elements, other.elements, files_[0], files_[k]);
    if (!options.charge) same("charge", first.charge, other.charge);
    if (!options.spin) same("spin", first.spin, other.spin);
  }
}

void Committee::connect(MPI_Comm world)
{
  for (auto &member : members_) member->connect(world);
}

void Committee::set_composition(const std::vector<int64_t> &counts)
{
  for (auto &member : members_) member->set_composition(counts);
}

bool Committee::has_composition(const std::vector<int64_t> &counts) const
{
  return std::all_of(members_.begin(), members_.end(),
                     [&](const auto &member) { return member->has_composition(counts); });
}

void Committee::set_candidates(const EdgeGraph::Candidates &candidates,
                               const std::vector<Owner> &owners)
{
  for (auto &member : members_) member->set_candidates(candidates, owners);
}

Result Committee::evaluate(const double *positions, int64_t num_atoms, bool with_atom_virials)
{
  std::vector<Result> found;
  for (auto &member : members_) {
    found.push_back(member->evaluate(positions, num_atoms, with_atom_virials));
  }
  if (!deviations_) return std::move(found.front());
  deviations_->take(found);
  Result result = found.front();    // the edges are the same for all
  result.energy = mean(found, [](const Result &r) { return r.energy; });
  result.energies = mean(found, [](const Result &r) { return r.energies; });
  result.forces = mean(found, [](const Result &r) { return r.forces; });
  for (size_t c = 0; c < result.virial.size(); c++) {
    result.virial[c] = mean(found, [c](const Result &r) { return r.virial[c]; });
  }
  if (with_atom_virials) {
    result.atom_virials = mean(found, [](const Result &r) { return r.atom_virials; });
  }
  return result;
}

void Committee::check_graph(const Result &result) const
{
  for (const auto &member : members_) member->check_graph(result);
}

// A member's NaN or infinity is also the mean's.
void Committee::check_values(const Result &result) const
{
  members_.front()->check_values(result);
}

Potential::Merges Committee::merges() const
{
  Potential::Merges all;
  for (const auto &member : members_) {
    all.count += member->merges().count;
    all.seconds += member->merges().seconds;
  }
  return all;
}

// The edges are the same for all.
Load Committee::load() const
{
  Load all = members_.front()->load();
  for (size_t k = 1; k < members_.size(); k++) {
    const Load &load = members_[k]->load();
    all.exchange += load.exchange;
    all.messages += load.messages;
    all.step += load.step;
    all.messages_sent += load.messages_sent;
    all.bytes_sent += load.bytes_sent;
  }
  return all;
}

std::string Committee::description(MPI_Comm world) const
{
  if (members_.size() == 1) return members_.front()->description(world);
  auto text = fmt::format("pair_style uma: committee of {} members, mean of their energies and "
                          "forces\n",
                          members_.size());
  if (file_)
    text += fmt::format("  deviations: {}, every {} steps\n", file_->name(), file_->every());
  for (size_t k = 0; k < members_.size(); k++) {
    text += fmt::format("member {}: {}\n", k + 1, files_[k]) + members_[k]->description(world);
  }
  return text;
}

double Committee::memory_usage() const
{
  double bytes = 0.0;
  for (const auto &member : members_) bytes += member->memory_usage();
  return bytes;
}

}    // namespace uma
