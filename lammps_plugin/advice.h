// SPDX-License-Identifier: GPL-2.0-only
// What a task is for, and what a colleague would say of a system and a task. Sentences are those of
// uma_md/commands/setup/advice.py, which looks at bonds as well; here composition must do.

#ifndef UMA_ADVICE_H
#define UMA_ADVICE_H

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace uma {

struct Situation {
  std::string model, task;
  int64_t charge = 0, spin = 0;
  std::vector<int64_t> counts;    // atoms of the whole system by atomic number
  std::array<bool, 3> periodic{};
  bool dispersion = false;           // whether another pair style adds it
  std::optional<double> timestep;    // fs, where atoms move freely
  double lightest = 0.0;             // mass of the lightest atom, u
  std::string lightest_symbol;
};

// A sentence for LAMMPS, and the rule that gave it.
struct Advice {
  std::string rule, text;
};

// Training data and level of theory of a task in a few words; empty where not known.
std::string purpose(const std::string &model, const std::string &task);

// All warnings, in the order of the table.
std::vector<Advice> advise(const Situation &situation);

}    // namespace uma

#endif
