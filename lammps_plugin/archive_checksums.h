// SPDX-License-Identifier: GPL-2.0-only
// Checksums of a TorchScript file's members: torch reads a file without checking them.

#ifndef UMA_ARCHIVE_CHECKSUMS_H
#define UMA_ARCHIVE_CHECKSUMS_H

#include <string>

namespace uma {

// Name of the first member of a file whose bytes do not have the checksum that the file's
// directory gives, or nothing. Throws where the directory itself cannot be read.
std::string member_with_wrong_checksum(const std::string &file);

}    // namespace uma

#endif
