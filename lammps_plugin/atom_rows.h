// SPDX-License-Identifier: GPL-2.0-only
// Which of LAMMPS's atoms the model sees, and in which row of its tensors.

#ifndef UMA_ATOM_ROWS_H
#define UMA_ATOM_ROWS_H

#include "edge_graph.h"
#include "halo_exchange.h"

#include <cstdint>
#include <vector>

namespace LAMMPS_NS {
class Atom;
class NeighList;
}    // namespace LAMMPS_NS

namespace uma {

class AtomRows {
 public:
  // Atomic number of each atom type, from 1; 0 for types that the model does not see.
  void set_types(std::vector<int> atomic_numbers) { atomic_numbers_ = std::move(atomic_numbers); }

  int atomic_number(int type) const { return atomic_numbers_[type]; }

  // Gives each owned atom that the model sees a row. Atoms of the groups 'absent' (a bit mask)
  // have none. Ghosts then learn their owner's rank and row: see pack and unpack.
  void number(const LAMMPS_NS::Atom &atom, int rank, int absent);
  int pack(int n, const int *list, double *buffer) const;
  void unpack(int n, int first, const double *buffer);

  const std::vector<Owner> &owners() const { return owners_; }
  int64_t row(int atom) const { return owners_[atom].row; }
  bool sees_all_types() const;

  // Kind (1 to 3: 1-2, 1-3 or 1-4 neighbors) of a pair of atoms that the model sees and that LAMMPS
  // leaves out of neighbor lists, as it does where its flag for the kind is 0; 0 if there is none.
  int missing_kind(LAMMPS_NS::Atom &atom, const int *special_flag) const;

  // Owned atoms of each atomic number below 'size'.
  std::vector<int64_t> count(const LAMMPS_NS::Atom &atom, size_t size) const;

  // Pairs of the neighbor list between atoms that the model sees: first those whose sender is an
  // atom of this rank, or its image, so that messages along them need no row of another.
  EdgeGraph::Candidates candidates(const LAMMPS_NS::Atom &atom, const LAMMPS_NS::NeighList &list,
                                   int rank) const;

  double memory_usage() const { return double(owners_.capacity() * sizeof(Owner)); }

 private:
  bool sees(LAMMPS_NS::Atom &atom, int64_t id) const;
  template <class Work> void for_pairs(const LAMMPS_NS::NeighList &list, const Work &work) const;

  std::vector<int> atomic_numbers_;
  std::vector<Owner> owners_;    // of each atom, ghosts included
  int64_t num_owned_ = 0;
};

}    // namespace uma

#endif
