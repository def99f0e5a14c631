// SPDX-License-Identifier: MIT
// Precision of products of float32 matrices: that of the model's options, whatever torch is set to.
// uma_md/precision.py is the same for Python.

#ifndef UMA_KERNELS_PRECISION_H
#define UMA_KERNELS_PRECISION_H

#include <memory>
#include <optional>
#include <string_view>

namespace uma::kernels {

// What products are computed in: FP16x3 takes three of half precision in place of one, on GPUs;
// BF16x3 and BF16x6 take three and six of bfloat16, on CPUs.
enum class Precision { Float32, TF32, FP16x3, BF16x3, BF16x6 };

constexpr bool is_for_cpus(Precision precision)
{
  return precision == Precision::BF16x3 || precision == Precision::BF16x6;
}

__attribute__((visibility("default"))) std::optional<Precision>
find_precision(std::string_view word);
__attribute__((visibility("default"))) const char *word(Precision precision);

// While it lives, torch multiplies float32 matrices as a precision says. torch keeps one setting
// for the process, which is put back then.
class __attribute__((visibility("default"))) Float32Products {
 public:
  explicit Float32Products(Precision precision);
  ~Float32Products();
  Float32Products(const Float32Products &) = delete;
  Float32Products &operator=(const Float32Products &) = delete;

 private:
  struct Found;
  std::unique_ptr<Found> found_;
};

}    // namespace uma::kernels

#endif
