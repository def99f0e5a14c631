// SPDX-License-Identifier: GPL-2.0-only
// The keywords of 'pair_style uma' and their values.

#ifndef UMA_OPTIONS_H
#define UMA_OPTIONS_H

#include "kernels/stages.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace uma {

enum class DeviceChoice { Auto, CPU, CUDA, XPU };
enum class RecomputeChoice { Auto, On, Off };
enum class EngineChoice { Auto, Kernels, Portable };
enum class ExchangeChoice { Auto, Host, Device };

struct Options {
  DeviceChoice device = DeviceChoice::Auto;
  RecomputeChoice recompute = RecomputeChoice::Auto;
  EngineChoice engine = EngineChoice::Auto;
  ExchangeChoice exchange = ExchangeChoice::Auto;
  kernels::Precision precision = kernels::Precision::Float32;    // of products in float32
  kernels::Graphs graphs = kernels::Graphs::Auto;
  std::vector<std::string> committee;       // files of the members after the first
  std::optional<std::string> deviations;    // file for the members' deviations
  std::optional<int64_t> every;             // steps between its rows
  bool trust = false;               // run the code of files that 'uma-md export' did not write
  std::optional<int64_t> charge;    // of the whole system, in units of e; unset: the file's
  std::optional<int64_t> spin;      // spin multiplicity; unset: the file's
  std::optional<int64_t> chunk;     // edges in one piece of work; unset: chosen for the device
};

// Throws std::invalid_argument with a sentence about the first argument that is wrong.
Options parse_options(const std::vector<std::string> &arguments);

}    // namespace uma

#endif
