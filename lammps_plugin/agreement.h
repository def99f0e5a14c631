// SPDX-License-Identifier: GPL-2.0-only
// How failures of C++ code become LAMMPS errors.

#ifndef UMA_AGREEMENT_H
#define UMA_AGREEMENT_H

#include <exception>
#include <functional>
#include <string>
#include <vector>

namespace LAMMPS_NS {
class LAMMPS;
}

namespace uma {

// The text of a failure without libtorch's stack traces.
std::string readable(const std::exception &failure);

// Work that all ranks of 'world' do at the same time, and that no rank leaves while others wait
// for it: when it throws on any of them, all of them stop with the text of the first that failed.
void all_or_none(LAMMPS_NS::LAMMPS *lmp, const std::function<void()> &work);

// As above; where several ranks fail, with the text of the earliest part that failed.
void all_or_none(LAMMPS_NS::LAMMPS *lmp, const std::vector<std::function<void()>> &parts);

// Work in whose midst ranks may wait for each other: a rank where it throws stops the others.
void or_abort(LAMMPS_NS::LAMMPS *lmp, const std::function<void()> &work);

}    // namespace uma

#endif
