// SPDX-License-Identifier: GPL-2.0-only

#include "atom_rows.h"

#include "atom.h"
#include "neigh_list.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace uma {

using LAMMPS_NS::Atom;
using LAMMPS_NS::NeighList;

void AtomRows::number(const Atom &atom, int rank, int absent)
{
  num_owned_ = 0;
  owners_.assign(atom.nlocal + atom.nghost, Owner{rank, -1});
  for (int i = 0; i < atom.nlocal; i++) {
    const bool present = atomic_numbers_[atom.type[i]] > 0 && !(atom.mask[i] & absent);
    if (present) owners_[i].row = num_owned_++;
  }
}

int AtomRows::pack(int n, const int *list, double *buffer) const
{
  int m = 0;
  for (int k = 0; k < n; k++) {
    buffer[m++] = owners_[list[k]].rank;
    buffer[m++] = double(owners_[list[k]].row);
  }
  return m;
}

void AtomRows::unpack(int n, int first, const double *buffer)
{
  for (int k = 0; k < n; k++) {
    owners_[first + k] = Owner{int(buffer[2 * k]), int64_t(buffer[2 * k + 1])};
  }
}

bool AtomRows::sees_all_types() const
{
  return std::all_of(atomic_numbers_.begin() + 1, atomic_numbers_.end(),
                     [](int number) { return number > 0; });
}

// Whether the atom of an ID, if it is here or among the ghosts, is one that the model sees.
bool AtomRows::sees(Atom &atom, int64_t id) const
{
  if (id > atom.map_tag_max) return false;    // deleted
  const int k = atom.map(LAMMPS_NS::tagint(id));
  return k >= 0 && row(k) >= 0;
}

int AtomRows::missing_kind(Atom &atom, const int *special_flag) const
{
  const int first = int(std::find(special_flag + 1, special_flag + 4, 0) - special_flag);
  if (first > 3 || atom.molecular == Atom::ATOMIC) return 0;
  for (int i = 0; i < atom.nlocal; i++) {
    if (row(i) < 0) continue;
    if (atom.molecular == Atom::TEMPLATE) {    // keeps its bonds where plugins cannot look
      if (atom.molindex[i] >= 0) return first;
      continue;
    }
    for (int kind = first, n = first == 1 ? 0 : atom.nspecial[i][first - 2]; kind <= 3; kind++) {
      for (; n < atom.nspecial[i][kind - 1]; n++) {
        if (special_flag[kind] == 0 && sees(atom, atom.special[i][n])) return kind;
      }
    }
  }
  return 0;
}

std::vector<int64_t> AtomRows::count(const Atom &atom, size_t size) const
{
  std::vector<int64_t> counts(size, 0);
  for (int i = 0; i < atom.nlocal; i++) {
    if (row(i) >= 0) counts[atomic_numbers_[atom.type[i]]]++;
  }
  return counts;
}

// Calls work(receiver, sender) for the pairs.
template <class Work> void AtomRows::for_pairs(const NeighList &list, const Work &work) const
{
  for (int k = 0; k < list.inum; k++) {
    const int i = list.ilist[k];
    if (row(i) < 0) continue;
    for (int n = 0; n < list.numneigh[i]; n++) {
      const int j = list.firstneigh[i][n] & NEIGHMASK;
      if (row(j) >= 0) work(i, j);
    }
  }
}

EdgeGraph::Candidates AtomRows::candidates(const Atom &atom, const NeighList &list, int rank) const
{
  int64_t inner = 0, others = 0;
  for_pairs(list, [&](int, int j) { (owners_[j].rank == rank ? inner : others)++; });
  EdgeGraph::Candidates found;
  found.num_owned = num_owned_;
  found.pairs = {at::empty({inner + others}, at::kInt), at::empty({inner + others}, at::kInt)};
  int *receiver = found.pairs.receivers.data_ptr<int>();
  int *sender = found.pairs.senders.data_ptr<int>();
  int64_t next[2] = {0, inner};
  for_pairs(list, [&](int i, int j) {
    const int64_t k = next[owners_[j].rank == rank ? 0 : 1]++;
    receiver[k] = i;
    sender[k] = j;
  });
  found.atomic_numbers.reserve(owners_.size());
  for (size_t k = 0; k < owners_.size(); k++) {
    found.atomic_numbers.push_back(atomic_numbers_[atom.type[k]]);
  }
  return found;
}

}    // namespace uma
