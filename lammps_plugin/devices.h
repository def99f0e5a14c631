// SPDX-License-Identifier: GPL-2.0-only
// Which accelerators a process sees, and which of them each rank of a node takes.
// uma_md/ranks/placement.py has the same rule. Needs neither torch nor MPI.

#ifndef UMA_DEVICES_H
#define UMA_DEVICES_H

#include <string>
#include <vector>

namespace uma {

// Identities of the devices that each rank of a node sees, in its own numbering.
using Visible = std::vector<std::vector<std::string>>;

// UUIDs of the devices that NVIDIA's driver shows this process, 16 bytes each, in the driver's
// numbering, which is torch's; none where there is no such driver.
std::vector<std::string> device_identities();

// The device of each rank, in its own numbering: of those it sees, the one that fewest ranks before
// it have taken. A launcher may show each rank one device alone, as number 0. Every rank sees one.
std::vector<int> assign_devices(const Visible &visible);

// Ranks that take the same device as 'rank' does, itself included.
int count_sharers(const Visible &visible, const std::vector<int> &choices, int rank);

}    // namespace uma

#endif
