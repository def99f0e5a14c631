// SPDX-License-Identifier: GPL-2.0-only

#include "scripted_code.h"

#include <caffe2/serialize/inline_container.h>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

namespace uma {
namespace {

using Reader = caffe2::serialize::PyTorchStreamReader;

constexpr size_t LONGEST_TEXT = size_t(1) << 25;    // a hundred times what the largest model has
constexpr const char *RECORD = "extra/metadata.json";

constexpr const char *OPERATORS =
    "Int __derive_index __getitem__ __isnot__ __range_length _set_item add append bmm cat chunk "
    "contiguous copy_ div embedding eq exp flatten floordiv full_like ge gt index index_add "
    "index_copy index_select layer_norm len linear list lt matmul mean mul narrow neg ones_like "
    "pad pow "
    "reciprocal reshape rsqrt select sigmoid silu silu_ size slice softmax split sqrt square "
    "squeeze stack sub sum tensor to transpose unbind unsqueeze view where zeros zeros_like";

constexpr const char *STRUCTURE =
    "CallFunction CallMethod Constant GetAttr If ListConstruct ListUnpack Loop RaiseException "
    "SetAttr TupleConstruct TupleUnpack device dtype min unchecked_cast";

void add_names(std::set<std::string> &names, const std::string &space, const char *text)
{
  std::istringstream words(text);
  for (std::string word; words >> word;) names.insert(space + "::" + word);
}

std::set<std::string> allowed_operators()
{
  std::set<std::string> names;
  add_names(names, "aten", OPERATORS);
  add_names(names, "prim", STRUCTURE);
  return names;
}

std::string read_text(Reader &reader, const std::string &name)
{
  if (reader.getRecordSize(name) > LONGEST_TEXT) throw std::runtime_error(name + " is too long");
  const auto [data, size] = reader.getRecord(name);
  return {static_cast<const char *>(data.get()), size};
}

std::string find_disallowed(const torch::jit::Block *block, const std::set<std::string> &allowed)
{
  for (const torch::jit::Node *node : block->nodes()) {
    const std::string kind = node->kind().toQualString();
    if (!allowed.count(kind)) return kind;
    for (const torch::jit::Block *inner : node->blocks()) {
      const std::string found = find_disallowed(inner, allowed);
      if (!found.empty()) return found;
    }
  }
  return {};
}

}    // namespace

std::string read_record(const std::string &file)
{
  Reader reader(file);
  return reader.hasRecord(RECORD) ? read_text(reader, RECORD) : std::string();
}

std::string run_by_loading(const std::string &file)
{
  Reader reader(file);
  for (const std::string &name : reader.getAllRecords()) {
    if (!name.ends_with(".py") && !name.ends_with(".pkl")) continue;
    const std::string text = read_text(reader, name);
    for (const char *word : {"__setstate__", "classes"}) {
      if (text.find(word) != std::string::npos) return word;
    }
  }
  return {};
}

std::string disallowed_operator(const torch::jit::Module &module)
{
  static const std::set<std::string> allowed = allowed_operators();
  for (torch::jit::Function *function : module._ivalue()->compilation_unit()->get_functions()) {
    function->ensure_defined();
    const std::string found =
        find_disallowed(torch::jit::toGraphFunction(*function).graph()->block(), allowed);
    if (!found.empty()) return found;
  }
  return {};
}

}    // namespace uma
