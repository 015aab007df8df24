// SPDX-License-Identifier: Apache-2.0
//
// Which op class work has on the device of one executor: of an operation by its name, and of a
// TorchScript module by all that its code calls. What a closure does is nobody's to know before it
// has run; see learned_class.h.
#pragma once

#include <streamgate/policies/config.h>
#include <streamgate/policies/op_class.h>
#include <streamgate/policies/op_table.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace torch::jit {
struct Module;
}

namespace streamgate::executor {

/// One operation of some work.
struct OperationUse {
  std::string operation{};  ///< With namespace and overload: "aten::add.Tensor".
  std::size_t count = 0;    ///< Of a module: places in its code. Of a closure: calls.
  std::optional<policies::OpClassSet> classes{};  ///< Nothing: no table knows it.
};

/// A module's operations, by name, and what they come to together.
struct ModuleClasses {
  std::vector<OperationUse> operations{};
  policies::OpClassSet classes = policies::OpClass::kRaw;
};

/// Gives operations and modules their op classes, for one executor's backend and libtorch.
///
/// An operation that no table knows is of class kernel and graph (policies::kUnknownOpClass), is
/// counted, and is named in the log once.
///
/// Thread-safety: thread-safe. Ownership: of its table; an executor owns its classifier.
/// Blocking: nothing waits; an unknown operation takes a lock for the log. Ask once and keep the
/// answer in TaskOptions::op_class rather than once for each task. Failure: the constructor throws
/// policies::OpTableError for an op_table.file that cannot be used; the rest has an answer for
/// everything.
///
///     const Classifier& classifier = executor.classifier();
///     const OpClassSet linear = classifier.class_of("aten::linear");
///     const OpClassSet encoder = classifier.classes_of(module).classes;
///     executor.submit({.op_class = encoder}, [&] { return module.forward(inputs); });
class Classifier {
 public:
  /// For the backend that the config names, with its op table, as the loaded libtorch is.
  explicit Classifier(const policies::Config& config);
  /// `backend` is one of Situation::backend.
  Classifier(policies::OpTable table, std::string backend, policies::Situation situation);
  Classifier(const Classifier&) = delete;
  Classifier& operator=(const Classifier&) = delete;

  /// The classes of an operation named as OpTable::find takes it.
  [[nodiscard]] policies::OpClassSet class_of(std::string_view operation) const noexcept;
  /// What the table says; nothing for an unknown operation, which is counted and logged.
  [[nodiscard]] std::optional<policies::OpClassSet> find(std::string_view operation) const noexcept;
  /// The same without counting.
  [[nodiscard]] std::optional<policies::OpClassSet> look_up(
      std::string_view operation) const noexcept;

  /// Of everything in the module's code: all methods and hooks of it and of its submodules, with
  /// nested blocks and called functions, whether a forward comes there or not. Operations without
  /// a tensor are left out: they are the host's. Only in builds with libtorch.
  [[nodiscard]] ModuleClasses classes_of(const torch::jit::Module& module) const;

  /// How an operation is taken to run. What is not known of it counts as the worst.
  [[nodiscard]] const policies::Situation& situation() const noexcept { return situation_; }
  /// How often an operation was asked for that no table knows.
  [[nodiscard]] std::uint64_t unknown_operations() const noexcept {
    return unknown_.load(std::memory_order_relaxed);
  }

 private:
  void note_unknown(std::string_view operation) const noexcept;

  const policies::OpTable table_;
  const std::string backend_;
  policies::Situation situation_;  ///< Its backend is ours.
  mutable std::atomic<std::uint64_t> unknown_{0};
  mutable std::mutex logged_mutex_;
  mutable std::set<std::string, std::less<>> logged_;
};

}  // namespace streamgate::executor
