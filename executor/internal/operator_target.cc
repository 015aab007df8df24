// SPDX-License-Identifier: Apache-2.0
//
// Operators of the dispatcher: found by name, judged by their schema.
#include <streamgate/executor/internal/operation_target.h>

#include <streamgate/executor/classifier.h>

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/enum_tag.h>

#include <algorithm>
#include <string>

namespace streamgate::executor {
namespace {

using c10::Argument;
using c10::FunctionSchema;

bool writes(const Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}

std::optional<std::size_t> place_of(const FunctionSchema& schema, c10::TypeKind kind,
                                    std::initializer_list<std::string_view> names) {
  const std::vector<Argument>& arguments = schema.arguments();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].type()->kind() == kind &&
        std::find(names.begin(), names.end(), arguments[i].name()) != names.end()) {
      return i;
    }
  }
  return std::nullopt;
}

bool takes_generator(const FunctionSchema& schema) {
  return std::any_of(schema.arguments().begin(), schema.arguments().end(), [](const Argument& a) {
    const auto optional = a.type()->cast<c10::OptionalType>();
    const auto& type = optional ? *optional->getElementType() : *a.type();
    return type.kind() == c10::TypeKind::GeneratorType;
  });
}

/// How an operator comes to draw random numbers, and which arguments keep it from that: recurrent
/// layers and attention have no tag, as they draw only with a dropout.
struct Chance {
  explicit Chance(const FunctionSchema& schema)
      : dropout(place_of(schema, c10::TypeKind::FloatType, {"dropout", "dropout_p"})),
        training(place_of(schema, c10::TypeKind::BoolType, {"train", "training"})) {}

  [[nodiscard]] bool drawn(const std::vector<c10::IValue>& arguments) const {
    if (!possible && !dropout) return false;
    const auto is = [&](std::optional<std::size_t> place, auto holds) {
      return place && *place < arguments.size() && holds(arguments[*place]);
    };
    const auto is_false = [](const c10::IValue& v) { return v.isBool() && !v.toBool(); };
    const auto is_zero = [](const c10::IValue& v) { return v.isDouble() && v.toDouble() == 0.0; };
    return !is(training, is_false) && !is(dropout, is_zero);
  }

  bool possible = false;  ///< Without a dropout argument too.
  std::optional<std::size_t> dropout;
  std::optional<std::size_t> training;
};

class OperatorTarget final : public OperationTarget {
 public:
  OperatorTarget(Facts facts, const c10::OperatorHandle& handle)
      : OperationTarget(std::move(facts)),
        handle_(handle),
        // What gives no result is called for something else.
        writes_(handle.schema().returns().empty() ||
                std::any_of(handle.schema().arguments().begin(), handle.schema().arguments().end(),
                            writes)),
        chance_(handle.schema()) {
    chance_.possible =
        handle.hasTag(at::Tag::nondeterministic_seeded) || takes_generator(handle.schema());
  }

  const FunctionSchema& schema() const noexcept override { return handle_.schema(); }
  Effects effects(const std::vector<c10::IValue>& arguments) const override {
    if (writes_) return Effects::kWrites;
    return chance_.drawn(arguments) ? Effects::kChance : Effects::kNone;
  }
  void run(torch::jit::Stack& stack) const override { handle_.callBoxed(stack); }

 private:
  const c10::OperatorHandle handle_;
  const bool writes_;
  Chance chance_;
};

/// "; it has the overloads Scalar, Tensor, out": what a name without one may have meant.
std::string overloads_of(const std::string& name) {
  std::vector<std::string> overloads;
  for (const c10::OperatorName& known : c10::Dispatcher::singleton().getAllOpNames()) {
    if (known.name == name) overloads.push_back(known.overload_name);
  }
  if (overloads.empty()) return "; remedy: load the library that registers it";
  std::sort(overloads.begin(), overloads.end());
  std::string text;
  for (const std::string& overload : overloads) {
    text +=
        (text.empty() ? "; it has the overloads " : ", ") + (overload.empty() ? "\"\"" : overload);
  }
  return text + "; remedy: name one, as " + name + "." + overloads.back();
}

}  // namespace

std::shared_ptr<const OperationTarget> make_operator_target(std::string_view name,
                                                            const Classifier* classifier) {
  const std::size_t dot = name.find('.', name.find("::"));
  const c10::OperatorName wanted(
      std::string(name.substr(0, dot)),
      std::string(dot == name.npos ? std::string_view() : name.substr(dot + 1)));
  const auto handle = c10::Dispatcher::singleton().findSchema(wanted);
  if (!handle) {
    throw OperationError("no operator " + std::string(name) + " is registered in this process" +
                         overloads_of(wanted.name));
  }
  const std::vector<Argument>& returns = handle->schema().returns();
  return std::make_shared<const OperatorTarget>(
      OperationTarget::Facts{
          .kind = Operation::Kind::kOperator,
          .name = std::string(name),
          .op_class = classifier ? classifier->class_of(name) : policies::kUnknownOpClass,
          .gives_views = std::any_of(returns.begin(), returns.end(),
                                     [](const Argument& r) { return r.alias_info() != nullptr; }),
          .first_argument = 0,
          .module = {}},
      *handle);
}

}  // namespace streamgate::executor
