// SPDX-License-Identifier: GPL-2.0-only

#include "options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace uma {
namespace {

template <typename Choice>
using Choices = std::initializer_list<std::pair<std::string_view, Choice>>;

template <typename Choice>
bool choose(Choice &target, const std::string &value, Choices<Choice> choices)
{
  for (const auto &[name, choice] : choices) {
    if (value != name) continue;
    target = choice;
    return true;
  }
  return false;
}

// Numbers such as -1.0 too, which other programs write for -1.
bool whole_number(std::optional<int64_t> &target, const std::string &value, int64_t lowest,
                  int64_t highest)
{
  std::istringstream text(value);
  text.imbue(std::locale::classic());
  double number = 0.0;
  const bool read = bool(text >> std::noskipws >> number) && text.peek() == EOF;
  if (!read || number != std::trunc(number)) return false;
  if (number < double(lowest) || number > double(highest)) return false;
  target = int64_t(number);
  return true;
}

struct Keyword {
  std::string_view name;
  std::string_view values;    // what the value must be, for the error message
  bool (*set)(Options &, const std::string &);
  bool many = false;    // all arguments up to the next keyword are values
};

constexpr int64_t LARGEST_CHUNK = int64_t(1) << 31;
constexpr int64_t MOST_STEPS = int64_t(1) << 31;

constexpr std::array<Keyword, 13> KEYWORDS{{
    {"device", "auto, cpu, cuda or xpu",
     [](Options &options, const std::string &value) {
       return choose(options.device, value,
                     {{"auto", DeviceChoice::Auto},
                      {"cpu", DeviceChoice::CPU},
                      {"cuda", DeviceChoice::CUDA},
                      {"xpu", DeviceChoice::XPU}});
     }},
    {"charge", "a whole number from -100 to 100",
     [](Options &options, const std::string &value) {
       return whole_number(options.charge, value, -100, 100);
     }},
    {"spin", "a whole number from 0 to 100",
     [](Options &options, const std::string &value) {
       return whole_number(options.spin, value, 0, 100);
     }},
    {"chunk", "a whole number of edges, 1 or more",
     [](Options &options, const std::string &value) {
       return whole_number(options.chunk, value, 1, LARGEST_CHUNK);
     }},
    {"recompute", "auto, on or off",
     [](Options &options, const std::string &value) {
       return choose(options.recompute, value,
                     {{"auto", RecomputeChoice::Auto},
                      {"on", RecomputeChoice::On},
                      {"off", RecomputeChoice::Off}});
     }},
    {"engine", "auto, kernels or portable",
     [](Options &options, const std::string &value) {
       return choose(options.engine, value,
                     {{"auto", EngineChoice::Auto},
                      {"kernels", EngineChoice::Kernels},
                      {"portable", EngineChoice::Portable}});
     }},
    {"precision", "float32, tf32, fp16x3, bf16x3 or bf16x6",
     [](Options &options, const std::string &value) {
       const auto found = kernels::find_precision(value);
       options.precision = found.value_or(options.precision);
       return found.has_value();
     }},
    {"graphs", "auto, on or off",
     [](Options &options, const std::string &value) {
       return choose(options.graphs, value,
                     {{"auto", kernels::Graphs::Auto},
                      {"on", kernels::Graphs::On},
                      {"off", kernels::Graphs::Off}});
     }},
    {"exchange", "auto, host or device",
     [](Options &options, const std::string &value) {
       return choose(options.exchange, value,
                     {{"auto", ExchangeChoice::Auto},
                      {"host", ExchangeChoice::Host},
                      {"device", ExchangeChoice::Device}});
     }},
    {"committee", "one or more files",
     [](Options &options, const std::string &value) {
       options.committee.push_back(value);
       return true;
     },
     /*many=*/true},
    {"deviations", "the name of a file to write",
     [](Options &options, const std::string &value) {
       options.deviations = value;
       return true;
     }},
    {"every", "a whole number of steps, 1 or more",
     [](Options &options, const std::string &value) {
       return whole_number(options.every, value, 1, MOST_STEPS);
     }},
    {"trust", "yes or no",
     [](Options &options, const std::string &value) {
       return choose(options.trust, value, {{"yes", true}, {"no", false}});
     }},
}};

const Keyword *known_keyword(const std::string &name)
{
  const auto found = std::find_if(KEYWORDS.begin(), KEYWORDS.end(),
                                  [&](const Keyword &keyword) { return keyword.name == name; });
  return found == KEYWORDS.end() ? nullptr : &*found;
}

const Keyword &find_keyword(const std::string &name)
{
  if (const Keyword *found = known_keyword(name)) return *found;
  std::string known;
  for (const Keyword &keyword : KEYWORDS)
    known += (known.empty() ? "" : ", ") + std::string(keyword.name);
  throw std::invalid_argument("pair_style uma: a keyword must be one of " + known + ", found '" +
                              name + "'; correct or remove it");
}

// How many arguments from 'first' on are values of a keyword.
size_t count_values(const Keyword &keyword, const std::vector<std::string> &arguments, size_t first)
{
  if (!keyword.many) return first < arguments.size() ? 1 : 0;
  size_t end = first;
  while (end < arguments.size() && !known_keyword(arguments[end])) end++;
  return end - first;
}

[[noreturn]] void refuse_value(const Keyword &keyword, const std::string &found)
{
  throw std::invalid_argument("pair_style uma: the value of keyword '" + std::string(keyword.name) +
                              "' must be " + std::string(keyword.values) + ", found " + found +
                              "; correct it");
}

void check_together(const Options &options)
{
  if (options.deviations && options.committee.empty()) {
    throw std::invalid_argument("pair_style uma: keyword 'deviations' must come with 'committee', "
                                "found no committee; name its files, or remove 'deviations'");
  }
  if (options.every && !options.deviations) {
    throw std::invalid_argument("pair_style uma: keyword 'every' must come with 'deviations', "
                                "found no file for them; name one, or remove 'every'");
  }
}

}    // namespace

Options parse_options(const std::vector<std::string> &arguments)
{
  Options options;
  for (size_t i = 0; i < arguments.size();) {
    const Keyword &keyword = find_keyword(arguments[i]);
    const size_t values = count_values(keyword, arguments, i + 1);
    if (values == 0) refuse_value(keyword, "nothing");
    for (size_t k = i + 1; k <= i + values; k++) {
      if (!keyword.set(options, arguments[k])) refuse_value(keyword, "'" + arguments[k] + "'");
    }
    i += values + 1;
  }
  check_together(options);
  return options;
}

}    // namespace uma
