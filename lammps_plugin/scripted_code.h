// SPDX-License-Identifier: GPL-2.0-only
// What the code in a model file may do: arithmetic on tensors, and nothing else. Some operators of
// TorchScript read or write files, so the code is checked before any of it runs.
// uma_md/files/scripted_code.py does the same in Python.

#ifndef UMA_SCRIPTED_CODE_H
#define UMA_SCRIPTED_CODE_H

#include <string>

namespace torch::jit {
struct Module;
}

namespace uma {

// The record that 'uma-md export' writes beside the network; empty where there is none.
// Throws std::exception when the file is no archive of torch's.
std::string read_record(const std::string &file);

// Loading compiles the code and runs none of it, but for what this looks for. Returns what it
// found, or an empty text.
std::string run_by_loading(const std::string &file);

// An operator in the methods of a loaded module that the network does not need, or an empty text.
std::string disallowed_operator(const torch::jit::Module &module);

}    // namespace uma

#endif
