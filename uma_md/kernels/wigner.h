// SPDX-License-Identifier: MIT
// Wigner matrices of the rotation of an edge onto the y axis, by recursion over degrees.
//
// Ivanic and Ruedenberg, J. Phys. Chem. 100, 6342 (1996), with the corrections of J. Phys. Chem. A
// 102, 9099 (1998): an entry of degree l is a sum of few products of an entry of degree 1 and one
// of degree l - 1. Their axes are renamed so that y is polar, which makes degree 1 the rotation of
// (x, y, z).

#ifndef UMA_KERNELS_WIGNER_H
#define UMA_KERNELS_WIGNER_H

#include "portable.h"
#include "sizes.h"

namespace uma::kernels {

// One product of the recursion: entry 'out' of a degree gets factor first[of_first]
// below[of_below].
struct WignerTerm {
  int degree, out, of_first, of_below;
  double factor;
};

// Entries of all degrees up to l, one matrix after another.
constexpr int matrix_start(int l)
{
  return l * (4 * l * l - 1) / 3;
}

// The rotation of a unit vector onto +y: rows are the frame's axes x, y, z. Edges of the upper half
// space are rotated the short way onto +y; those of the lower half space the short way onto -y and
// then over, by 180 degrees about x.
template <class T> UMA_INLINE inline void rotation_onto_y(T x, T y, T z, T *R)
{
  const T sign = y >= T(0) ? T(1) : T(-1);
  const T scale = T(1) / (T(1) + sign * y);
  R[0] = T(1) - x * x * scale;
  R[1] = -sign * x;
  R[2] = -x * z * scale;
  R[3] = x;
  R[4] = y;
  R[5] = z;
  R[6] = -sign * x * z * scale;
  R[7] = -z;
  R[8] = sign * (T(1) - z * z * scale);
}

}    // namespace uma::kernels

#endif
