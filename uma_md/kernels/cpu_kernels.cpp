// SPDX-License-Identifier: MIT
// The kernels on a CPU: loops over edges around the functions of one edge. Compiled once for each
// type, UMA_REAL, and set of instructions, UMA_INSTRUCTIONS; therefore nothing is included here
// that others compile, too.

#include "kernels.h"

namespace uma::kernels::UMA_INSTRUCTIONS {
namespace {

template <class T>
UMA_INLINE inline void wigner_matrices(const Constants<T> &constants, const WignerTerm *terms,
                                       int num_terms, const T *R, T *frame)
{
  constexpr int SIZE = matrix_start(LARGEST_DEGREE + 1);
  T all[SIZE];
  const int size = matrix_start(constants.sizes.lmax + 1);
  for (int k = 0; k < size; k++) all[k] = 0;
  all[0] = 1;
  for (int k = 0; k < 9 && size > 1; k++) all[1 + k] = R[k];
  for (int k = 0; k < num_terms; k++) {
    const WignerTerm &term = terms[k];
    const T *below = all + matrix_start(term.degree - 1);
    all[matrix_start(term.degree) + term.out] +=
        T(term.factor) * R[term.of_first] * below[term.of_below];
  }
  for (int l = 0; l <= constants.sizes.lmax; l++) {
    const int rows = needed_orders(l, constants.sizes.mmax), row = 2 * l + 1;
    const T *matrix = all + matrix_start(l) + (l - rows) * row;
    T *out = frame + constants.frame.middle[l] - rows * row;
    for (int k = 0; k < (2 * rows + 1) * row; k++) out[k] = matrix[k];
  }
}

template <class T> class CpuKernels final : public Kernels<T> {
 public:
  void geometry(const Constants<T> &constants, const T *centers, const WignerTerm *terms,
                int num_terms, const T *vectors, int num, EdgeArrays<T> edges) override
  {
    for (int e = 0; e < num; e++) {
      const T x = vectors[3 * e], y = vectors[3 * e + 1], z = vectors[3 * e + 2];
      const T distance = root(x * x + y * y + z * z);
      edges.distances[e] = distance;
      envelope(distance, constants.cutoff, edges.envelopes[e], edges.slopes[e]);
      gaussians(distance, constants.gaussian, centers, constants.sizes.num_basis,
                edges.basis + e * constants.sizes.num_basis);
      T R[9];
      rotation_onto_y(x / distance, y / distance, z / distance, R);
      wigner_matrices(constants, terms, num_terms, R, edges.frames + e * constants.frame.size);
    }
  }

  // In the frame, where y is the edge, dE/dvector = (-torque_z, distance dE/ddistance, torque_x) /
  // distance; the rotation of degree 1 brings it back.
  void gradients(const Constants<T> &constants, int num, EdgeArrays<T> edges, T *gradients) override
  {
    for (int e = 0; e < num; e++) {
      const T *D = edges.frames + e * constants.frame.size + constants.frame.middle[1];
      const T *pull = edges.pulls + 3 * e;
      const T x = -pull[2] / edges.distances[e], y = pull[1], z = pull[0] / edges.distances[e];
      for (int k = 0; k < 3; k++) gradients[3 * e + k] = D[k - 3] * x + D[k] * y + D[k + 3] * z;
    }
  }

  void hidden(const HiddenLayer<T> &layer, const Block<T> &block, T epsilon, T *x, T *scales,
              T *out) override
  {
    for (int e = 0; e < block.num_edges; e++) {
      T *row = x + e * layer.width;
      if (layer.sender_table) {
        add(layer.width, layer.sender_table + block.sender_numbers[e] * layer.width, row);
        add(layer.width, layer.receiver_table + block.receiver_numbers[e] * layer.width, row);
      }
      scales[e] =
          norm_silu(row, layer.width, layer.weight, layer.bias, epsilon, out + e * layer.width);
    }
  }

  void hidden_reverse(const HiddenLayer<T> &layer, int num, const T *normalized, const T *scales,
                      T *g) override
  {
    for (int e = 0; e < num; e++) {
      norm_silu_reverse(normalized + e * layer.width, scales[e], layer.width, layer.weight,
                        layer.bias, g + e * layer.width);
    }
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
    const int C = constants.sizes.channels;
    for (int e = 0; e < block.num_edges; e++) {
      for (int end = 0; end < 2; end++) {
        const T *row = node(h, constants, end == 0 ? block.senders[e] : block.receivers[e]);
        const T *scale_row = scale + int64(e) * constants.scale.width + end * C;
        T *x_row = x + int64(e) * constants.ends.width + end * C;
        for_degrees(constants.sizes.lmax, constants.sizes.mmax, [&](auto l, auto M) UMA_INLINE {
          const int middle = coefficient(l, 0);
          kernels::rotate_in(l, M, D(constants, block, e, l), row + l * l * C, C, scale_row,
                             constants.scale.column + middle, constants.ends.column + middle,
                             x_row);
        });
      }
    }
  }

  void rotate_in_reverse(const Constants<T> &constants, const Block<T> &block, const T *h,
                         const T *scale, const T *g_x, T *g_scale, T *g_senders,
                         T *g_receivers) override
  {
    const int size = node_width(constants);
    for (int i = block.first_receiver; i < block.end_receiver; i++) {
      T *sum = g_receivers + int64(i) * size;
      for (int k = 0; k < size; k++) sum[k] = 0;
      for (int edge = block.starts[i]; edge < block.starts[i + 1]; edge++) {
        const int e = edge - block.starts[block.first_receiver];
        Torque<T> torque;
        reverse_end<false>(constants, block, e, 0, node(h, constants, block.senders[e]), scale, g_x,
                           g_scale, g_senders + int64(e) * size, torque);
        reverse_end<true>(constants, block, e, 1, node(h, constants, i), scale, g_x, g_scale, sum,
                          torque);
        block.edges.pulls[3 * e] += torque.x;
        block.edges.pulls[3 * e + 2] += torque.z;
      }
    }
  }

  void gate(const Constants<T> &constants, int num, const T *p, T *q) override
  {
    const int H = constants.sizes.hidden_channels, front = constants.gates;
    const int width = constants.hidden.width;
    for (int e = 0; e < num; e++) {
      const T *in = p + int64(e) * (front + width);
      T *out = q + int64(e) * width;
      gate_scalars(in + front, H, out);
      for_degrees(constants.sizes.lmax, constants.sizes.mmax, [&](auto l, auto M) UMA_INLINE {
        if (l == 0) return;
        gate_degree(M, in, (l - 1) * H, front, constants.hidden.column + coefficient(l, 0), H, out);
      });
    }
  }

  void gate_reverse(const Constants<T> &constants, int num, const T *p, const T *g_q,
                    T *g_p) override
  {
    const int H = constants.sizes.hidden_channels, front = constants.gates;
    const int width = constants.hidden.width;
    for (int e = 0; e < num; e++) {
      const T *in = p + int64(e) * (front + width), *g = g_q + int64(e) * width;
      T *out = g_p + int64(e) * (front + width);
      gate_scalars_reverse(in + front, H, g, out + front);
      for_degrees(constants.sizes.lmax, constants.sizes.mmax, [&](auto l, auto M) UMA_INLINE {
        if (l == 0) return;
        gate_degree_reverse(M, in, (l - 1) * H, front, constants.hidden.column + coefficient(l, 0),
                            H, g, out);
      });
    }
  }

  void rotate_out(const Constants<T> &constants, const Layout &layout, int mmax, T factor,
                  const Block<T> &block, const T *y, T *rows) override
  {
    const int C = constants.sizes.channels;
    for (int e = 0; e < block.num_edges; e++) {
      T *row = rows + int64(block.receivers[e]) * node_width(constants);
      const T *y_row = y + int64(e) * layout.width;
      for_degrees(constants.sizes.lmax, mmax, [&](auto l, auto M) UMA_INLINE {
        kernels::rotate_out(l, M, D(constants, block, e, l), y_row,
                            layout.column + coefficient(l, 0), factor * block.edges.envelopes[e], C,
                            row + l * l * C);
      });
    }
  }

  void rotate_out_reverse(const Constants<T> &constants, const Layout &layout, int mmax, T factor,
                          const Block<T> &block, const T *y, const T *g_rows, T *g_y) override
  {
    const int C = constants.sizes.channels;
    for (int e = 0; e < block.num_edges; e++) {
      const T *row = node(g_rows, constants, block.receivers[e]);
      const int64 start = int64(e) * layout.width;
      Torque<T> torque;
      T g_weight = 0;
      for_degrees(constants.sizes.lmax, mmax, [&](auto l, auto M) UMA_INLINE {
        kernels::rotate_out_reverse(l, M, D(constants, block, e, l), y + start,
                                    layout.column + coefficient(l, 0),
                                    factor * block.edges.envelopes[e], C, row + l * l * C,
                                    constants.generators[l], g_y + start, torque, g_weight);
      });
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
  using int64 = long long;

  static int node_width(const Constants<T> &constants)
  {
    return (constants.sizes.lmax + 1) * (constants.sizes.lmax + 1) * constants.sizes.channels;
  }

  static const T *node(const T *rows, const Constants<T> &constants, int row)
  {
    return rows + int64(row) * node_width(constants);
  }

  // The row m = 0 of an edge's rotation.
  static const T *D(const Constants<T> &constants, const Block<T> &block, int e, int degree)
  {
    return block.edges.frames + int64(e) * constants.frame.size + constants.frame.middle[degree];
  }

  static void add(int count, const T *UMA_RESTRICT values, T *UMA_RESTRICT row)
  {
    UMA_CHANNELS(c, count)
    {
      row[c] += values[c];
    }
  }

  template <bool Add>
  static void reverse_end(const Constants<T> &constants, const Block<T> &block, int e, int end,
                          const T *h, const T *scale, const T *g_x, T *g_scale, T *g_h,
                          Torque<T> &torque)
  {
    const int C = constants.sizes.channels;
    const int64 scales = int64(e) * constants.scale.width + end * C;
    const T *g = g_x + int64(e) * constants.ends.width + end * C;
    for_degrees(constants.sizes.lmax, constants.sizes.mmax, [&](auto l, auto M) UMA_INLINE {
      const int middle = coefficient(l, 0);
      kernels::rotate_in_reverse<Add>(l, M, D(constants, block, e, l), h + l * l * C, C,
                                      scale + scales, constants.scale.column + middle,
                                      constants.ends.column + middle, g, constants.generators[l],
                                      g_scale + scales, g_h + l * l * C, torque);
    });
  }
};

}    // namespace

void get(Kernels<UMA_REAL> *&kernels)
{
  static CpuKernels<UMA_REAL> instance;
  kernels = &instance;
}

}    // namespace uma::kernels::UMA_INSTRUCTIONS
