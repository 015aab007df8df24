// SPDX-License-Identifier: Apache-2.0
//
// What is behind an Operation: one subclass for each kind of thing that can be called by name. A
// new kind is a new subclass and a line in Operation::resolve; nothing else asks what it is.
#pragma once

#include <streamgate/executor/backends/graph_cache.h>
#include <streamgate/executor/internal/module_registry.h>
#include <streamgate/executor/learned_memory.h>
#include <streamgate/executor/operation.h>
#include <streamgate/policies/op_class.h>

#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/stack.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace streamgate::executor {

/// Resolved and immutable, but for what is learned of its calls.
class OperationTarget {
 public:
  struct Facts {
    Operation::Kind kind = Operation::Kind::kOperator;
    std::string name{};
    policies::OpClassSet op_class = policies::kUnknownOpClass;
    bool gives_views = false;
    std::size_t first_argument = 0;  ///< Of the schema; what comes before is the target's own.
    ModuleFile module{};             ///< Of a method; without a name for everything else.
  };

  explicit OperationTarget(Facts facts) : facts_(std::move(facts)) {}
  virtual ~OperationTarget() = default;
  OperationTarget(const OperationTarget&) = delete;
  OperationTarget& operator=(const OperationTarget&) = delete;

  [[nodiscard]] const Facts& facts() const noexcept { return facts_; }
  /// What its calls were seen to hold. It changes, though the operation does not.
  [[nodiscard]] LearnedMemory& memory() const noexcept { return memory_; }
  [[nodiscard]] virtual const c10::FunctionSchema& schema() const noexcept = 0;
  /// Why no call of it can be captured as a graph; null where one may be.
  [[nodiscard]] virtual const char* why_no_graph() const noexcept { return nullptr; }
  /// Whose graphs they are: no other target of this process has the number.
  [[nodiscard]] std::uint64_t graph_id() const noexcept { return graph_id_; }
  [[nodiscard]] virtual Effects effects(const std::vector<c10::IValue>& arguments) const = 0;
  /// Leaves the results on the stack, in place of the arguments.
  virtual void run(torch::jit::Stack& stack) const = 0;
  /// The same, and looks whether the run has effects that a graph would not have: then why_no_graph
  /// says so afterwards.
  virtual void run_watched(torch::jit::Stack& stack) const { run(stack); }

 private:
  const Facts facts_;
  mutable LearnedMemory memory_;
  const std::uint64_t graph_id_ = GraphFunction::new_id();
};

/// An operator of the dispatcher. Throws OperationError where this process has none of that name.
[[nodiscard]] std::shared_ptr<const OperationTarget> make_operator_target(
    std::string_view name, const Classifier* classifier);

}  // namespace streamgate::executor
