// SPDX-License-Identifier: Apache-2.0
//
// What all operations have in common: names, the check of arguments, the run.
#include <streamgate/executor/operation.h>

#include <streamgate/executor/internal/module_registry.h>
#include <streamgate/executor/internal/operation_target.h>

#include <ATen/core/grad_mode.h>
#include <ATen/core/jit_type.h>

#include <sstream>
#include <utility>

namespace streamgate::executor {
namespace {

using c10::Argument;
using c10::IValue;

/// The type of a value, in the schema's words; some values that nobody passes have none.
std::string type_text(const IValue& value) {
  try {
    return value.type()->repr_str();
  } catch (const std::exception&) {
    return value.tagKind();
  }
}

bool fits(const IValue& value, const Argument& argument) {
  if (value.isTensor() && argument.type()->kind() == c10::TypeKind::TensorType) return true;
  try {
    return value.type()->isSubtypeOf(*argument.type());
  } catch (const std::exception&) {
    return false;
  }
}

IValue result_of(std::vector<IValue> stack) {
  if (stack.empty()) return {};
  if (stack.size() == 1) return std::move(stack.front());
  return c10::ivalue::Tuple::create(std::move(stack));
}

std::string named(const Argument& argument, std::size_t position) {
  return "argument '" + argument.name() + "' (" + std::to_string(position) + ")";
}

}  // namespace

Operation Operation::resolve(std::string_view name, const ModuleRegistry& modules,
                             const Classifier* classifier) {
  return Operation(modules.operation(name, classifier));
}

Operation::Operation(std::shared_ptr<const OperationTarget> target) noexcept
    : target_(std::move(target)) {}

Operation::Kind Operation::kind() const noexcept { return target_->facts().kind; }
const std::string& Operation::name() const noexcept { return target_->facts().name; }
policies::OpClassSet Operation::op_class() const noexcept { return target_->facts().op_class; }
bool Operation::gives_views() const noexcept { return target_->facts().gives_views; }

std::string Operation::signature() const {
  std::ostringstream text;
  text << target_->schema();
  return text.str();
}

Effects Operation::effects(const std::vector<IValue>& arguments) const {
  return target_->effects(arguments);
}

std::vector<IValue> Operation::bind(std::vector<IValue> inputs) const {
  const std::size_t first = target_->facts().first_argument;
  const std::vector<Argument>& wanted = target_->schema().arguments();
  const std::size_t most = wanted.size() - first;
  if (inputs.size() > most) {
    throw OperationError(name() + ": takes at most " + std::to_string(most) + " arguments, got " +
                         std::to_string(inputs.size()) + ": " + signature());
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Argument& argument = wanted[first + i];
    if (fits(inputs[i], argument)) continue;
    throw OperationError(name() + ": " + named(argument, i) + " expects " +
                         argument.type()->repr_str() + ", got " + type_text(inputs[i]) + ": " +
                         signature());
  }
  // One more than there will be, for a method's own first argument.
  inputs.reserve(wanted.size());
  for (std::size_t i = inputs.size(); i < most; ++i) {
    const Argument& argument = wanted[first + i];
    if (!argument.default_value()) {
      throw OperationError(name() + ": " + named(argument, i) + " is missing, expects " +
                           argument.type()->repr_str() + ": " + signature());
    }
    inputs.push_back(*argument.default_value());
  }
  return inputs;
}

IValue Operation::run(std::vector<IValue> arguments) const {
  // A result that another process made has no history, so none has one.
  const at::NoGradGuard no_grad;
  target_->run(arguments);
  return result_of(std::move(arguments));
}

IValue Operation::run_watched(std::vector<IValue> arguments) const {
  const at::NoGradGuard no_grad;
  target_->run_watched(arguments);
  return result_of(std::move(arguments));
}

}  // namespace streamgate::executor
