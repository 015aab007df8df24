// SPDX-License-Identifier: Apache-2.0
//
// From a config to the situation that operations run in, and from names to classes.
#include <streamgate/executor/classifier.h>

#include <streamgate/executor/internal/log.h>
#if STREAMGATE_WITH_TORCH
#include <streamgate/executor/internal/module_walk.h>
#include <streamgate/executor/internal/torch_library.h>
#endif

#include <cstdlib>
#include <exception>
#include <utility>

namespace streamgate::executor {
namespace {

using policies::OpClassSet;
using policies::OpTable;
using policies::Situation;

/// Names come from programs and model files, so what is kept of them has an end.
constexpr std::size_t kMaxLogged = 1'000;

OpTable table_for(const policies::Config& config) {
  if (config.op_table.file.empty()) return OpTable::shipped();
  return OpTable::shipped().extended_by(config.op_table.file);
}

/// As libtorch reads it: set to anything, even "0", the environment forces the path.
bool graph_path_is_forced(const policies::Config& config) {
  return config.mps.force_graph_path || std::getenv("MPS_FORCE_GRAPH_PATH") != nullptr;
}

Situation situation_for(const policies::Config& config) {
  Situation situation;
  if (config.executor.backend == "emulator") {
    // It is no libtorch's device: it has the classes of the one that it pretends to be.
    situation.libtorch = policies::torch_version_from(config.emulator.libtorch);
    situation.forced_graph_path = config.mps.force_graph_path;
    return situation;
  }
#if STREAMGATE_WITH_TORCH
  situation.libtorch = policies::torch_version_from(loaded_torch_version());
  situation.macos = macos_version();
#endif
  situation.forced_graph_path = graph_path_is_forced(config);
  return situation;
}

}  // namespace

Classifier::Classifier(const policies::Config& config)
    : Classifier(table_for(config), config.executor.backend, situation_for(config)) {}

Classifier::Classifier(OpTable table, std::string backend, Situation situation)
    : table_(std::move(table)), backend_(std::move(backend)), situation_(situation) {
  situation_.backend = backend_;
}

std::optional<OpClassSet> Classifier::find(std::string_view operation) const noexcept {
  const std::optional<OpClassSet> classes = look_up(operation);
  if (!classes) note_unknown(operation);
  return classes;
}

OpClassSet Classifier::class_of(std::string_view operation) const noexcept {
  return find(operation).value_or(policies::kUnknownOpClass);
}

std::optional<OpClassSet> Classifier::look_up(std::string_view operation) const noexcept {
  return table_.find(operation, situation_);
}

void Classifier::note_unknown(std::string_view operation) const noexcept {
  unknown_.fetch_add(1, std::memory_order_relaxed);
  try {
    {
      const std::lock_guard lock(logged_mutex_);
      if (logged_.size() >= kMaxLogged || logged_.contains(operation)) return;
      logged_.emplace(operation);
    }
    log(LogLevel::kWarning, "unknown_operation",
        "no op table knows " + std::string(operation) + " on " + backend_ +
            "; it is taken as kernel and graph, the most restrictive. Remedy: a row for it in "
            "the file of op_table.file",
        {{"operation", operation}, {"backend", backend_}});
  } catch (const std::exception&) {
    // No memory for the name. It is counted, and the next one may be named.
  }
}

#if STREAMGATE_WITH_TORCH
ModuleClasses Classifier::classes_of(const torch::jit::Module& module) const {
  ModuleClasses found;
  for (auto& [name, count] : walk_module(module)) {
    const std::optional<OpClassSet> classes = find(name);
    found.classes = found.classes | classes.value_or(policies::kUnknownOpClass);
    found.operations.push_back({.operation = name, .count = count, .classes = classes});
  }
  return found;
}
#endif

}  // namespace streamgate::executor
