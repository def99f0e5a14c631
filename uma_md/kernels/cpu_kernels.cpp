// SPDX-License-Identifier: MIT
// The kernels on a CPU: loops over edges around the functions of one edge. Compiled once for each
// type, UMA_REAL, and set of instructions, UMA_INSTRUCTIONS; therefore nothing is included here
// that others compile, too.

#include "kernels.h"

namespace uma::kernels::UMA_INSTRUCTIONS {
namespace {

// Calls a function with the width of hidden layers, a constant where models have it.
template <class Function> UMA_INLINE inline void with_width(int width, const Function &function)
{
#ifndef UMA_COMPACT
  if (width == 32) return function(Constant<32>());
  if (width == 64) return function(Constant<64>());
  if (width == 128) return function(Constant<128>());
#endif
  function(width);
}

template <class T> class CpuKernels final : public Kernels<T> {
 public:
  void geometry(const Constants<T> &constants, const T *centers, const WignerTerm *terms,
                int num_terms, const T *vectors, int num, EdgeArrays<T> edges) override
  {
    const int count = constants.sizes.num_basis;
    for (int e = 0; e < num; e++) {
      kernels::geometry(constants, terms, num_terms, vectors + 3 * int64(e), e, edges);
      gaussians(edges.distances[e], constants.gaussian, centers, count,
                edges.basis + int64(e) * count);
    }
  }

  void gradients(const Constants<T> &constants, int num, EdgeArrays<T> edges, T *gradients) override
  {
    for (int e = 0; e < num; e++) {
      gradient(constants, edges, e, gradients + 3 * int64(e));
    }
  }

  void hidden(const HiddenLayer<T> &layer, const Block<T> &block, T epsilon, T *x, T *scales,
              T *out) override
  {
    with_width(layer.width, [&](auto width) UMA_INLINE {
      for (int e = 0; e < block.num_edges; e++) {
        T *row = x + e * width;
        if (layer.sender_table) {
          add(width, layer.sender_table + block.sender_numbers[e] * width, row);
          add(width, layer.receiver_table + block.receiver_numbers[e] * width, row);
        }
        scales[e] = norm_silu(row, width, layer.weight, layer.bias, epsilon, out + e * width);
      }
    });
  }

  void hidden_reverse(const HiddenLayer<T> &layer, int num, const T *normalized, const T *scales,
                      T *g) override
  {
    with_width(layer.width, [&](auto width) UMA_INLINE {
      for (int e = 0; e < num; e++) {
        norm_silu_reverse(normalized + e * width, scales[e], width, layer.weight, layer.bias,
                          g + e * width);
      }
    });
  }

  void basis_reverse(const Constants<T> &constants, const T *centers, int num, EdgeArrays<T> edges,
                     const T *g_basis) override
  {
    const int count = constants.sizes.num_basis;
    for (int e = 0; e < num; e++) {
      edges.pulls[3 * e + 1] +=
          gaussians_reverse(edges.distances[e], constants.gaussian, centers, count,
                            edges.basis + e * count, g_basis + e * count);
    }
  }

  void rotate_in(const Constants<T> &constants, const Block<T> &block, const T *h, const T *scale,
                 T *x) override
  {
    const Numbers shape = shape_of(constants);
    for (int e = 0; e < block.num_edges; e++) {
      for (int end = 0; end < 2; end++) {
        const int row = end == 0 ? block.senders[e] : block.receivers[e];
        end_into_frame(constants, shape, frame(constants, block, e), node(h, shape, row),
                       scale + int64(e) * constants.scale.width + end * shape.channels,
                       x + int64(e) * constants.ends.width + end * shape.channels);
      }
    }
  }

  void rotate_in_reverse(const Constants<T> &constants, const Block<T> &block, const T *h,
                         const T *scale, const T *g_x, T *g_scale, T *sender_rows, T *g_receivers,
                         T *) override
  {
    const Numbers shape = shape_of(constants);
    for (int e = 0; e < block.num_edges; e++) {
      Torque<T> torque;
      reverse_end<Rows::Set>(constants, shape, block, e, 0, node(h, shape, block.senders[e]), scale,
                             g_x, g_scale, node(sender_rows, shape, e), torque);
      const int receiver = block.receivers[e];
      reverse_end<Rows::Add>(constants, shape, block, e, 1, node(h, shape, receiver), scale, g_x,
                             g_scale, node(g_receivers, shape, receiver), torque);
      block.edges.pulls[3 * e] += torque.x;
      block.edges.pulls[3 * e + 2] += torque.z;
    }
  }

  void gate(const Constants<T> &constants, int num, const T *p, T *q) override
  {
    const int width = constants.hidden.width;
    for (int e = 0; e < num; e++) {
      kernels::gate(constants, shape_of(constants), p + int64(e) * (constants.gates + width),
                    q + int64(e) * width);
    }
  }

  void gate_reverse(const Constants<T> &constants, int num, const T *p, const T *g_q,
                    T *g_p) override
  {
    const int width = constants.hidden.width;
    for (int e = 0; e < num; e++) {
      const int64 start = int64(e) * (constants.gates + width);
      kernels::gate_reverse(constants, shape_of(constants), p + start, g_q + int64(e) * width,
                            g_p + start);
    }
  }

  void rotate_out(const Constants<T> &constants, const Layout &layout, int mmax, T factor,
                  const Block<T> &block, const T *y, T *rows) override
  {
    const Numbers shape = shape_of(constants, mmax);
    for (int e = 0; e < block.num_edges; e++) {
      out_of_frame(constants, shape, layout, frame(constants, block, e),
                   y + int64(e) * layout.width, factor * block.edges.envelopes[e],
                   node(rows, shape, block.receivers[e]));
    }
  }

  void rotate_out_reverse(const Constants<T> &constants, const Layout &layout, int mmax, T factor,
                          const Block<T> &block, const T *y, const T *g_rows, T *g_y) override
  {
    const Numbers shape = shape_of(constants, mmax);
    for (int e = 0; e < block.num_edges; e++) {
      const int64 start = int64(e) * layout.width;
      Torque<T> torque;
      T g_weight = 0;
      out_of_frame_reverse(constants, shape, layout, frame(constants, block, e), y + start,
                           factor * block.edges.envelopes[e],
                           node(g_rows, shape, block.receivers[e]), g_y + start, torque, g_weight);
      T *pull = block.edges.pulls + 3 * e;
      pull[0] += torque.x;
      pull[1] += g_weight * factor * block.edges.slopes[e];
      pull[2] += torque.z;
    }
  }

  void sum_onto_senders(int num_senders, const int *starts, const int *order, const int *senders,
                        int width, const T *edge_rows, T *rows) override
  {
    for (int k = 0; k < num_senders; k++) {
      T *row = rows + int64(senders[order[starts[k]]]) * width;
      for (int n = starts[k]; n < starts[k + 1]; n++) {
        add(width, edge_rows + int64(order[n]) * width, row);
      }
    }
  }

 private:
  using Numbers = Shape<int, int, int, int>;

  static Numbers shape_of(const Constants<T> &constants, int mmax)
  {
    const Sizes &sizes = constants.sizes;
    return {sizes.lmax, mmax, sizes.channels, sizes.hidden_channels};
  }

  static Numbers shape_of(const Constants<T> &constants)
  {
    return shape_of(constants, constants.sizes.mmax);
  }

  template <class Number> static Number *node(Number *rows, const Numbers &shape, int row)
  {
    return rows + int64(row) * shape.node_width();
  }

  static const T *frame(const Constants<T> &constants, const Block<T> &block, int e)
  {
    return block.edges.frames + int64(e) * constants.frame.size;
  }

  template <class Count>
  UMA_INLINE static void add(Count count, const T *UMA_RESTRICT values, T *UMA_RESTRICT row)
  {
    UMA_CHANNELS(c, count)
    {
      row[c] += values[c];
    }
  }

  template <Rows Do>
  static void reverse_end(const Constants<T> &constants, const Numbers &shape,
                          const Block<T> &block, int e, int end, const T *h, const T *scale,
                          const T *g_x, T *g_scale, T *g_h, Torque<T> &torque)
  {
    const int64 scales = int64(e) * constants.scale.width + end * shape.channels;
    end_into_frame_reverse<Do>(constants, shape, frame(constants, block, e), h, scale + scales,
                               g_x + int64(e) * constants.ends.width + end * shape.channels,
                               g_scale + scales, g_h, torque);
  }
};

}    // namespace

void get(Kernels<UMA_REAL> *&kernels)
{
  static CpuKernels<UMA_REAL> instance;
  kernels = &instance;
}

}    // namespace uma::kernels::UMA_INSTRUCTIONS
