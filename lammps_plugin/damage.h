// SPDX-License-Identifier: GPL-2.0-only
// Whether a TorchScript file still has the bytes that were written: torch does not look.

#ifndef UMA_DAMAGE_H
#define UMA_DAMAGE_H

#include <string>

namespace uma {

// Name of the first member of a file whose bytes do not have the checksum that the file's
// directory gives, or nothing. Throws where the directory itself cannot be read.
std::string damaged_member(const std::string &file);

}    // namespace uma

#endif
