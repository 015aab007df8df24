// SPDX-License-Identifier: Apache-2.0
//
// Finds the operations that a TorchScript module's code calls. It runs nothing, and knows nothing
// of classes.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace torch::jit {
struct Module;
}

namespace streamgate::executor {

/// Operations with namespace and overload, and in how many places of the code they stand.
using OperationCounts = std::map<std::string, std::size_t>;

/// Every operation that has a tensor among its arguments or results, and what cannot be looked
/// into (Python, C++ classes, functions that are no graphs), of every method and hook of the
/// module and of each of its submodules. What one of them calls beside methods of modules, as
/// functions and script classes, counts once however often it is called.
[[nodiscard]] OperationCounts walk_module(const torch::jit::Module& module);

/// Whether any of its code may give an attribute of an object another value, which is an effect on
/// the host that a graph does not have. A batch norm's may, in training.
[[nodiscard]] bool assigns_attributes(const torch::jit::Module& module);

}  // namespace streamgate::executor
