// SPDX-License-Identifier: MIT
// What the kernels on a GPU are given: one structure each, by value.

#ifndef UMA_KERNELS_GPU_ARGUMENTS_H
#define UMA_KERNELS_GPU_ARGUMENTS_H

#include "kernels.h"

namespace uma::kernels::gpu {

template <class T> struct Geometry {
  Constants<T> constants;
  const T *centers;
  const WignerTerm *terms;
  int num_terms;
  const T *vectors;
  int num;
  EdgeArrays<T> edges;
};

template <class T> struct Gradients {
  Constants<T> constants;
  int num;
  EdgeArrays<T> edges;
  T *gradients;
};

template <class T> struct Hidden {
  HiddenLayer<T> layer;
  int num;
  const int *sender_numbers, *receiver_numbers;
  T epsilon;
  T *x, *scales, *out;
};

template <class T> struct HiddenReverse {
  HiddenLayer<T> layer;
  int num;
  const T *normalized, *scales;
  T *g;
};

template <class T> struct BasisReverse {
  Constants<T> constants;
  const T *centers;
  int num;
  EdgeArrays<T> edges;
  const T *g_basis;
};

template <class T> struct RotateIn {
  Constants<T> constants;
  Block<T> block;
  const T *h, *scale;
  T *x;
};

template <class T> struct RotateInReverse {
  Constants<T> constants;
  Block<T> block;
  const T *h, *scale, *g_x;
  T *g_scale;
};

// What the rows of one end gather of their edges.
template <class T> struct SumEnds {
  Constants<T> constants;
  Block<T> block;
  int end;    // 0: senders, 1: receivers
  const T *scale, *g_x;
  T *g_h;
};

// Rows of 'columns' numbers, as high and low halves in rows of twice as many (halves.h).
template <class T> struct Split {
  int num, columns, stride;
  const T *x;
  unsigned *halves;    // two each
};

template <class T> struct Gate {
  Constants<T> constants;
  int num;
  const T *p;
  T *q;
};

template <class T> struct GateReverse {
  Constants<T> constants;
  int num;
  const T *p, *g_q;
  T *g_p;
};

template <class T> struct RotateOut {
  Constants<T> constants;
  Layout layout;
  T factor;
  Block<T> block;
  const T *y;
  T *rows;
};

template <class T> struct RotateOutReverse {
  Constants<T> constants;
  Layout layout;
  T factor;
  Block<T> block;
  const T *y, *g_rows;
  T *g_y;
};

}    // namespace uma::kernels::gpu

#endif
