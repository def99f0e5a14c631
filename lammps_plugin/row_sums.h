// SPDX-License-Identifier: GPL-2.0-only

#ifndef UMA_ROW_SUMS_H
#define UMA_ROW_SUMS_H

#include <ATen/core/Tensor.h>
#include <ATen/ops/index_put.h>

namespace uma {

// Adds rows to those of 'target' that 'index' names, in an order that is the same in every run:
// index_add_ has one on CPUs alone. add_rows of uma_md/graph.py is the same.
inline at::Tensor add_rows(at::Tensor target, const at::Tensor &index, const at::Tensor &rows)
{
  if (target.is_cpu()) return target.index_add_(0, index, rows);
  return at::index_put_(target, {index}, rows, /*accumulate=*/true);
}

}    // namespace uma

#endif
