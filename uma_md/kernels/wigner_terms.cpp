// SPDX-License-Identifier: MIT

#include "wigner_terms.h"

#include <cmath>
#include <cstdlib>

namespace uma::kernels {
namespace {

// Collects the products that make the entry (m, n) of degree l.
class Entry {
 public:
  Entry(int l, int m, int n, std::vector<WignerTerm> &terms) : l_(l), m_(m), n_(n), terms_(terms) {}

  // Equation 8.1 of Ivanic and Ruedenberg: R_mn = u U + v V + w W.
  void add() const
  {
    const int a = std::abs(m_), zero = m_ == 0;
    const double whole = std::abs(n_) < l_ ? (l_ + n_) * (l_ - n_) : 2 * l_ * (2 * l_ - 1);
    const double u = std::sqrt((l_ + m_) * (l_ - m_) / whole);
    const double v = std::sqrt((1 + zero) * (l_ + a - 1) * (l_ + a) / whole) / 2 * (zero ? -1 : 1);
    const double w = zero ? 0 : -std::sqrt((l_ - a - 1) * (l_ - a) / whole) / 2;
    add_p(u, 0, m_);
    add_v(v);
    add_w(w);
  }

 private:
  void add_v(double v) const
  {
    if (m_ == 0) {
      add_p(v, 1, 1);
      add_p(v, -1, -1);
    } else if (m_ > 0) {
      add_p(v * (m_ == 1 ? std::sqrt(2.0) : 1), 1, m_ - 1);
      if (m_ > 1) add_p(-v, -1, -m_ + 1);
    } else {
      if (m_ < -1) add_p(v, 1, m_ + 1);
      add_p(v * (m_ == -1 ? std::sqrt(2.0) : 1), -1, -m_ - 1);
    }
  }

  void add_w(double w) const
  {
    if (m_ > 0) {
      add_p(w, 1, m_ + 1);
      add_p(w, -1, -m_ - 1);
    } else if (m_ < 0) {
      add_p(w, 1, m_ - 1);
      add_p(-w, -1, -m_ + 1);
    }
  }

  // The function P_i(l; a, n), times a factor.
  void add_p(double factor, int i, int a) const
  {
    if (factor == 0) return;
    if (n_ == l_) {
      add_product(factor, i, 1, a, l_ - 1);
      add_product(-factor, i, -1, a, -l_ + 1);
    } else if (n_ == -l_) {
      add_product(factor, i, 1, a, -l_ + 1);
      add_product(factor, i, -1, a, l_ - 1);
    } else {
      add_product(factor, i, 0, a, n_);
    }
  }

  // first(i, j) below(a, b)
  void add_product(double factor, int i, int j, int a, int b) const
  {
    const int size = 2 * l_ + 1, less = size - 2;
    terms_.push_back({l_, (l_ + m_) * size + l_ + n_, (i + 1) * 3 + j + 1,
                      (l_ - 1 + a) * less + l_ - 1 + b, factor});
  }

  int l_, m_, n_;
  std::vector<WignerTerm> &terms_;
};

}    // namespace

std::vector<WignerTerm> wigner_terms(int lmax)
{
  std::vector<WignerTerm> terms;
  for (int l = 2; l <= lmax; l++) {
    for (int m = -l; m <= l; m++) {
      for (int n = -l; n <= l; n++) Entry(l, m, n, terms).add();
    }
  }
  return terms;
}

}    // namespace uma::kernels
