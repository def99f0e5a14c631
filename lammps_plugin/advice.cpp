// SPDX-License-Identifier: GPL-2.0-only

#include "advice.h"

#include "fmt/format.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <set>
#include <utility>

namespace uma {
namespace {

const std::pair<const char *, const char *> PURPOSES[] = {
    {"omol", "molecules and clusters with charge and spin, wB97M-V"},
    {"omat", "inorganic materials, PBE and PBE+U"},
    {"oc20", "adsorbates on metal surfaces, RPBE"},
    {"oc22", "adsorbates on oxide surfaces, PBE+U"},
    {"oc25", "solid-liquid interfaces, RPBE+D3"},
    {"odac", "metal-organic frameworks and gases, PBE+D3"},
    {"omc", "crystals of molecules, PBE+D3"},
};

const std::set<int> NONMETALS = {1,  2,  5,  6,  7,  8,  9,  10, 14, 15, 16, 17,
                                 18, 32, 33, 34, 35, 36, 51, 52, 53, 54, 85, 86};
const std::set<int> OF_NETWORKS = {5,  14, 32, 33,
                                   34, 51, 52};    // nonmetals of solids such as SiO2

constexpr double SOLID = 0.25;           // share of metals that molecules and solutions do not have
constexpr double OXIDE = 0.4;            // oxygens per metal atom: a monolayer has fewer
constexpr double SOLVENT = 1.0 / 6.0;    // molecules like water, per metal atom
constexpr double MOLECULES = 8.0;        // more than any single adsorbate could be
constexpr double MOLECULAR_SHARE = 0.2;    // share of hydrogen in a system of molecules or layers
constexpr double ISOTOPE = 4.5;            // u: lighter than this is hydrogen or helium

double count(const Situation &s, int number)
{
  return size_t(number) < s.counts.size() ? double(s.counts[number]) : 0.0;
}

double count(const Situation &s, const std::set<int> &numbers)
{
  return std::accumulate(numbers.begin(), numbers.end(), 0.0,
                         [&](double sum, int number) { return sum + count(s, number); });
}

double atoms(const Situation &s)
{
  return double(std::accumulate(s.counts.begin(), s.counts.end(), int64_t(0)));
}

double metals(const Situation &s)
{
  return atoms(s) - count(s, NONMETALS);
}

int num_periodic(const Situation &s)
{
  return int(std::count(s.periodic.begin(), s.periodic.end(), true));
}

bool inorganic_solid(const Situation &s)
{
  const bool organic = count(s, 1) > 0 && count(s, 6) > 0 && metals(s) < 0.5 * atoms(s);
  return num_periodic(s) >= 2 && !organic && metals(s) + count(s, OF_NETWORKS) >= SOLID * atoms(s);
}

bool omol_solid(const Situation &s)
{
  return s.task == "omol" && inorganic_solid(s);
}

bool omc_solid(const Situation &s)
{
  return s.task == "omc" && inorganic_solid(s);
}

// Oxygen beyond that of water, carbon dioxide and what is made of them.
bool oc20_oxide(const Situation &s)
{
  const double of_oxide = count(s, 8) - 0.5 * count(s, 1) - 2.0 * count(s, 6);
  return s.task == "oc20" && metals(s) > 0 && of_oxide >= OXIDE * metals(s);
}

bool oc20_solvent(const Situation &s)
{
  const double molecules = std::min(0.5 * count(s, 1), count(s, {6, 7, 8}));
  return s.task == "oc20" && molecules >= std::max(MOLECULES, SOLVENT * metals(s));
}

bool omat_dispersion(const Situation &s)
{
  const bool molecular = count(s, 1) >= MOLECULAR_SHARE * atoms(s) && count(s, {6, 7, 8}) > 0 &&
                         metals(s) < SOLID * atoms(s);
  return s.task == "omat" && molecular && atoms(s) > 1 && !s.dispersion;
}

bool open(const Situation &s)
{
  return s.task != "omol" && num_periodic(s) == 0;
}

bool charge(const Situation &s)
{
  return s.task != "omol" && s.charge != 0;
}

bool spin(const Situation &s)
{
  return s.task != "omol" && s.spin != 0;
}

int64_t electrons(const Situation &s)
{
  int64_t sum = -s.charge;
  for (size_t number = 1; number < s.counts.size(); number++)
    sum += int64_t(number) * s.counts[number];
  return sum;
}

bool parity(const Situation &s)
{
  return s.task == "omol" && s.spin > 0 && (electrons(s) + s.spin) % 2 == 0;
}

bool charged_box(const Situation &s)
{
  return s.task == "omol" && s.charge != 0 && num_periodic(s) > 0;
}

double longest_timestep(double mass)
{
  if (mass < ISOTOPE) return std::round(100.0 * std::sqrt(std::max(mass, 1.0))) / 100.0;
  return mass < 20.0 ? 2.0 : 5.0;
}

bool time_step(const Situation &s)
{
  return s.timestep && *s.timestep > longest_timestep(s.lightest) * (1.0 + 1e-9);
}

struct Rule {
  const char *name;
  bool (*when)(const Situation &);
  const char *other;    // tasks to take
  const char *sentence;
};

const Rule RULES[] = {
    {"omol-solid", omol_solid, "omat",
     "omol was trained on molecules and clusters, not on layers and solids such as this one: "
     "{other}"},
    {"omc-solid", omc_solid, "omat",
     "omc was trained on crystals of molecules, not on inorganic solids: {other}"},
    {"oc20-oxide", oc20_oxide, "oc22 or omat",
     "oc20 has no oxides in its training data, and this has the oxygen of one: {other}"},
    {"oc20-solvent", oc20_solvent, "oc25",
     "oc20 has adsorbates on surfaces in its training data, no solvent such as this: {other}"},
    {"omat-dispersion", omat_dispersion, "",
     "omat's reference method (PBE, PBE+U) has no dispersion, which binds molecules and layers to "
     "each other: add D3, in LAMMPS by hybrid/overlay with dispersion/d3"},
    {"molecule-without-box", open, "omol",
     "{task} was trained on periodic systems, and this is a molecule or cluster without a cell: "
     "{other}"},
    {"charge", charge, "",
     "{task} was trained on neutral systems alone: a charge of {charge:+d} e has no meaning there, "
     "and only omol knows charges"},
    {"spin", spin, "",
     "{task} was trained without spin multiplicities: {spin} has no meaning there, and only omol "
     "knows them"},
    {"parity", parity, "",
     "an {kind} number of electrons ({electrons}) has an {ends} multiplicity, found {spin}: check "
     "charge and spin"},
    {"charged-box", charged_box, "",
     "omol was trained on molecules in open space: in a periodic box with charge {charge:+d} there "
     "is no background charge, and energies do not compare with those of a periodic calculation"},
    {"time-step", time_step, "",
     "a time step of {step:g} fs is too long for {symbol}, whose bonds vibrate faster: take "
     "{longest:g} fs or less"},
};

std::string say(const Rule &rule, const Situation &s)
{
  using fmt::arg;
  const bool odd = electrons(s) % 2 != 0;
  return "pair_style uma: " +
         fmt::format(fmt::runtime(rule.sentence), arg("task", s.task), arg("charge", s.charge),
                     arg("spin", s.spin), arg("electrons", electrons(s)),
                     arg("kind", odd ? "odd" : "even"), arg("ends", odd ? "even" : "odd"),
                     arg("step", s.timestep.value_or(0.0)), arg("symbol", s.lightest_symbol),
                     arg("longest", longest_timestep(s.lightest)),
                     arg("other", fmt::format("export the model for {}", rule.other)));
}

bool is_known(const std::string &task)
{
  return std::any_of(std::begin(PURPOSES), std::end(PURPOSES),
                     [&](const auto &known) { return task == known.first; });
}

}    // namespace

std::string purpose(const std::string &model, const std::string &task)
{
  if (model == "uma-nano") return "of cheap methods, as uma-nano learned it";
  for (const auto &[name, words] : PURPOSES) {
    if (task == name) return words;
  }
  return "";
}

std::vector<Advice> advise(const Situation &situation)
{
  std::vector<Advice> said;
  if (!is_known(situation.task) || atoms(situation) == 0) return said;
  for (const auto &rule : RULES) {
    if (rule.when(situation)) said.push_back({rule.name, say(rule, situation)});
  }
  return said;
}

}    // namespace uma
