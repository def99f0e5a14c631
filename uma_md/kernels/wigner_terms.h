// SPDX-License-Identifier: MIT

#ifndef UMA_KERNELS_WIGNER_TERMS_H
#define UMA_KERNELS_WIGNER_TERMS_H

#include "wigner.h"

#include <vector>

namespace uma::kernels {

// The recursion's products for the degrees 2..lmax, in the order in which they are to be added.
std::vector<WignerTerm> wigner_terms(int lmax);

}    // namespace uma::kernels

#endif
