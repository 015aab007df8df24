// SPDX-License-Identifier: Apache-2.0
//
// An operation: work that has a name, here and in any other process that has the same libraries
// loaded, and that takes and gives values. It checks arguments and runs on the thread that asks;
// when and where that is, and at what width, is the executor's business. Only in builds with
// libtorch.
#pragma once

#include <streamgate/policies/op_class.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace c10 {
struct IValue;
}

namespace streamgate::executor {

class Classifier;
class ModuleRegistry;
class OperationTarget;

/// An operation that is not there, a file that holds no module, or arguments that an operation does
/// not take. what() names the operation, what was expected and what came.
class OperationError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// What a call does beside giving its result. It decides whether a call that may have run can be
/// run again, and whether another process may run it at all.
enum class Effects : std::uint8_t {
  kNone,    ///< The same arguments give the same result, and nothing else changes.
  kChance,  ///< It draws random numbers.
  kWrites   ///< It writes to its arguments, or is there for another effect than its result.
};

/// An operator of libtorch's dispatcher, a method of a registered TorchScript module, or a
/// registered AOTInductor package, resolved once and cheap to call many times.
///
/// Thread-safety: immutable, so thread-safe; running is as safe as what it runs, which is what
/// gates are for. Ownership: a handle; copies share the resolved operation, and a method keeps its
/// module. Blocking: never, but for the work itself in run. Failure: resolve and bind throw
/// OperationError; run throws what libtorch throws.
///
///     const Operation linear = executor.operation("aten::linear");
///     auto future = executor.call(linear, {input, weight, bias});
///     executor.register_module("encoder", "/models/encoder.pt");
///     auto here = executor.run(executor.operation("encoder.forward"), {input});
class Operation {
 public:
  enum class Kind : std::uint8_t { kOperator, kMethod, kPackage };

  /// "aten::linear" and "aten::add.Tensor" name operators, with the overload after the dot;
  /// "encoder.forward" names a method of the module registered as "encoder". `classifier` gives the
  /// op class; null where nobody will ask for it. A package has one method, forward.
  [[nodiscard]] static Operation resolve(std::string_view name, const ModuleRegistry& modules,
                                         const Classifier* classifier);
  explicit Operation(std::shared_ptr<const OperationTarget> target) noexcept;

  [[nodiscard]] Kind kind() const noexcept;
  /// As resolve takes it: the same name is the same operation in every process.
  [[nodiscard]] const std::string& name() const noexcept;
  /// "aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor".
  [[nodiscard]] std::string signature() const;
  /// The worst, over all that the op table leaves open.
  [[nodiscard]] policies::OpClassSet op_class() const noexcept;

  /// With these arguments, as bind gave them: dropout without training draws nothing. A method is
  /// taken for kNone: a module is loaded for evaluation, and whoever registers one that counts or
  /// remembers says so at the call (CallOptions).
  [[nodiscard]] Effects effects(const std::vector<c10::IValue>& arguments) const;
  /// Whether the result may share memory with an argument, which it cannot where another process
  /// makes it.
  [[nodiscard]] bool gives_views() const noexcept;

  /// The arguments by position, those that are by keyword only included, checked against the schema
  /// and with its defaults for what is left out. Converts nothing: a float argument takes no int.
  [[nodiscard]] std::vector<c10::IValue> bind(std::vector<c10::IValue> inputs) const;
  /// Runs on this thread, recording no gradients. Several results come as a tuple, none as None.
  /// REQUIRES: the arguments are what bind gave.
  [[nodiscard]] c10::IValue run(std::vector<c10::IValue> arguments) const;
  /// The same, and notes in the target what speaks against a graph of it.
  [[nodiscard]] c10::IValue run_watched(std::vector<c10::IValue> arguments) const;

  /// Not for users.
  [[nodiscard]] const OperationTarget& target() const noexcept { return *target_; }
  [[nodiscard]] std::shared_ptr<const OperationTarget> shared_target() const noexcept {
    return target_;
  }

 private:
  std::shared_ptr<const OperationTarget> target_;  // Shared by copies, in tasks that go on too.
};

}  // namespace streamgate::executor
