// SPDX-License-Identifier: GPL-2.0-only
// Pairs that LAMMPS leaves out of the neighbor list, where the model must see all of them.

#ifndef UMA_LEFT_OUT_PAIRS_H
#define UMA_LEFT_OUT_PAIRS_H

#include "atom_rows.h"

#include "pointers.h"

#include <vector>

namespace uma {

class LeftOutPairs : LAMMPS_NS::Pointers {
 public:
  explicit LeftOutPairs(LAMMPS_NS::LAMMPS *lmp) : Pointers(lmp) {}

  // Groups (a bit mask) that 'neigh_modify exclude group X all' takes out of all pairs, as fix gcmc
  // does for trial deletions: their atoms are not there at all. Other exclusions have no meaning in
  // a many-body model, and are an error.
  int absent_groups() const;

  // 'pair_style hybrid' takes a pair of types from a style when a later pair_coeff names another.
  // 'asked' holds the pairs that it leaves to this style, ntypes + 1 to a row.
  void check_types(int *const *setflag, const std::vector<char> &asked) const;

  // Bonds may appear at any time, with molecules that are inserted, for example. Throws
  // std::runtime_error.
  void check_bonds(const AtomRows &rows) const;

  // Rather when a run begins than when the first bond is there.
  void check_fixes_that_bond(const AtomRows &rows) const;
};

}    // namespace uma

#endif
