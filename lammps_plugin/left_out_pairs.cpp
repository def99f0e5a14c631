// SPDX-License-Identifier: GPL-2.0-only

#include "left_out_pairs.h"

#include "atom.h"
#include "error.h"
#include "fix.h"
#include "fmt/format.h"
#include "group.h"
#include "modify.h"
#include "neighbor.h"

#include <algorithm>
#include <stdexcept>

using namespace LAMMPS_NS;

namespace uma {
namespace {

constexpr const char *KEEP_PAIRS =
    "LAMMPS leaves pairs of bonded atoms out where special_bonds gives them the weight 0; add "
    "'special_bonds lj/coul 1 1 1', or weights that are tiny but not 0, such as 1e-50, if another "
    "pair style must exclude these pairs";

}    // namespace

int LeftOutPairs::absent_groups() const
{
  int absent = 0;
  bool partial = neighbor->nex_type > 0 || neighbor->nex_mol > 0;
  for (int k = 0; k < neighbor->nex_group; k++) {
    const int first = neighbor->ex1_group[k], second = neighbor->ex2_group[k];
    if (first == 0 || second == 0)
      absent |= group->bitmask[std::max(first, second)];
    else
      partial = true;
  }
  if (partial) {
    error->all(FLERR, "pair_style uma: neighbor lists must hold all pairs, but 'neigh_modify "
                      "exclude' leaves some out; exclude nothing, or groups from 'all'");
  }
  return absent;
}

void LeftOutPairs::check_types(int *const *setflag, const std::vector<char> &asked) const
{
  for (int i = 1; i <= atom->ntypes; i++) {
    for (int j = i; j <= atom->ntypes; j++) {
      if (setflag[i][j] == 0 || asked[i * (atom->ntypes + 1) + j]) continue;
      error->all(FLERR,
                 "pair_style uma: its neighbor list must hold all pairs of its atoms, but another "
                 "pair_coeff takes those of types {} and {}; use 'pair_style hybrid/overlay', or "
                 "NULL for types that the model is not for",
                 i, j);
    }
  }
}

void LeftOutPairs::check_bonds(const AtomRows &rows) const
{
  const int kind = rows.missing_kind(*atom, neighbor->special_flag);
  if (kind == 0) return;
  throw std::runtime_error(
      fmt::format("pair_style uma: its neighbor list must hold all pairs of its atoms, but there "
                  "are bonds, and 1-{} neighbors are missing: {}",
                  kind + 1, KEEP_PAIRS));
}

void LeftOutPairs::check_fixes_that_bond(const AtomRows &rows) const
{
  const int *flags = neighbor->special_flag;
  if (atom->molecular == Atom::ATOMIC || std::count(flags + 1, flags + 4, 0) == 0) return;
  if (!rows.sees_all_types()) return;
  for (const Fix *fix : modify->get_fix_list()) {
    const bool bonds = utils::strmatch(fix->style, "^bond/create") ||
                       utils::strmatch(fix->style, "^bond/react");    // it knows no alternatives
    if (!bonds) continue;
    error->all(
        FLERR,
        "pair_style uma: its neighbor list must hold all pairs of its atoms, but fix {} ({}) "
        "makes bonds: {}",
        fix->id, fix->style, KEEP_PAIRS);
  }
}

}    // namespace uma
