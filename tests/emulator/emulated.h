// SPDX-License-Identifier: Apache-2.0
//
// Executors on the emulated Metal for tests that run libtorch's operators: the seeds' classes, and
// limits that are the fault model's safe widths.
#pragma once

#include <streamgate/executor.h>
#include <streamgate/executor/backends/emulator.h>
#include <streamgate/policies/fault_model.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace streamgate::testing {

/// For operators as the seeds met them (facts 1.4, libtorch 2.9): linear by the kernel without a
/// graph, convolutions, products and softmax as graphs, the rest by shaders.
inline OpClassSet class_of_operator(std::string_view name) {
  if (name == "aten::linear") return OpClass::kKernel;
  for (const std::string_view graph :
       {"aten::conv1d", "aten::conv_transpose1d", "aten::bmm", "aten::mm", "aten::softmax",
        "aten::log_softmax", "aten::gelu", "aten::ones", "aten::randn"}) {
    if (name == graph) return OpClass::kGraph;
  }
  return OpClass::kRaw;
}

/// Dies beyond two kernel encoders, and beyond three graph encoders.
inline policies::FaultModel deadly_model() {
  policies::FaultModel model;
  model.classes[policies::index_of(OpClass::kKernel)] = {.safe_threads = 2,
                                                         .rule = {.fault = policies::Fault::kSegv}};
  model.classes[policies::index_of(OpClass::kGraph)] = {.safe_threads = 3,
                                                        .rule = {.fault = policies::Fault::kAbort}};
  model.device.encode = std::chrono::microseconds(5);
  model.device.execute = std::chrono::microseconds(50);
  return model;
}

/// The safe widths of the model as ceilings.
inline ExecutorOptions emulated(const policies::FaultModel& model, std::size_t raw = 16) {
  Config config;
  config.executor.threads = 2;
  config.executor.intra_op_threads = 1;
  for (const OpClass c : policies::kAllOpClasses) {
    auto& gate = config.gates[policies::index_of(c)];
    const std::optional<std::size_t> safe = model.classes[policies::index_of(c)].safe_threads;
    gate.ceiling = c == OpClass::kExclusive ? 1 : c == OpClass::kRaw ? raw : safe.value_or(4);
    gate.limit = gate.ceiling;
  }
  return {
      .config = config,
      .backend = executor::make_emulator_backend({.model = model, .classify = class_of_operator})};
}

}  // namespace streamgate::testing
