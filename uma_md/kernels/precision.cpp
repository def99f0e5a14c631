// SPDX-License-Identifier: MIT

#include "precision.h"

#include <ATen/Context.h>
#include <utility>
#include <vector>

namespace uma::kernels {
namespace {

using Torchs = at::Float32Precision;
using at::Float32Backend;
using at::Float32Op;

constexpr std::pair<std::string_view, Precision> PRECISIONS[] = {
    {"float32", Precision::Float32}, {"tf32", Precision::TF32},     {"fp16x3", Precision::FP16x3},
    {"bf16x3", Precision::BF16x3},   {"bf16x6", Precision::BF16x6},
};

bool is_exact(Torchs precision)
{
  return precision == Torchs::IEEE || precision == Torchs::NONE;
}

}    // namespace

std::optional<Precision> find_precision(std::string_view word)
{
  for (const auto &[name, precision] : PRECISIONS) {
    if (name == word) return precision;
  }
  return std::nullopt;
}

const char *word(Precision precision)
{
  return PRECISIONS[int(precision)].first.data();
}

// What torch was set to, where that had to change.
struct Float32Products::Found {
  std::vector<std::pair<Float32Backend, Torchs>> precisions;
  bool fp16_accumulation = false;
};

Float32Products::Float32Products(Precision precision) : found_(std::make_unique<Found>())
{
  auto &torch = at::globalContext();
  for (const auto backend : {Float32Backend::CUDA, Float32Backend::MKLDNN}) {
    const bool tf32 = precision == Precision::TF32 && backend == Float32Backend::CUDA;
    const auto found = torch.float32Precision(backend, Float32Op::MATMUL);
    if (tf32 ? found == Torchs::TF32 : is_exact(found)) continue;
    const bool inherited = found == torch.float32Precision(backend, Float32Op::ALL);
    found_->precisions.emplace_back(backend, inherited ? Torchs::NONE : found);
    torch.setFloat32Precision(backend, Float32Op::MATMUL, tf32 ? Torchs::TF32 : Torchs::IEEE);
  }
  found_->fp16_accumulation = torch.allowFP16AccumulationCuBLAS();
  if (found_->fp16_accumulation) torch.setAllowFP16AccumulationCuBLAS(false);
}

Float32Products::~Float32Products()
{
  auto &torch = at::globalContext();
  for (const auto &[backend, found] : found_->precisions) {
    torch.setFloat32Precision(backend, Float32Op::MATMUL, found);
  }
  if (found_->fp16_accumulation) torch.setAllowFP16AccumulationCuBLAS(true);
}

}    // namespace uma::kernels
