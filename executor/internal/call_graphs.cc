// SPDX-License-Identifier: Apache-2.0
//
// From a call to a function of tensors, which is what graphs are captured of, and back.
#include <streamgate/executor/internal/call_graphs.h>

#include <streamgate/executor/internal/call_values.h>
#include <streamgate/executor/internal/operation_target.h>

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace streamgate::executor {
namespace {

using c10::IValue;

/// How an operation's result is made of tensors, as far as its schema says so.
enum class ResultKind { kTensor, kTuple, kList, kOther };

bool is_tensor(const c10::TypePtr& type) { return type->kind() == c10::TypeKind::TensorType; }

ResultKind result_kind(const c10::FunctionSchema& schema) {
  const std::vector<c10::Argument>& returns = schema.returns();
  if (returns.size() != 1) {
    const bool all = std::all_of(returns.begin(), returns.end(),
                                 [](const auto& result) { return is_tensor(result.type()); });
    return all && !returns.empty() ? ResultKind::kTuple : ResultKind::kOther;
  }
  const c10::TypePtr& type = returns.front().type();
  if (is_tensor(type)) return ResultKind::kTensor;
  if (const auto list = type->cast<c10::ListType>()) {
    return is_tensor(list->getElementType()) ? ResultKind::kList : ResultKind::kOther;
  }
  if (const auto tuple = type->cast<c10::TupleType>()) {
    // One with names would lose them.
    const bool all = std::all_of(tuple->elements().begin(), tuple->elements().end(), is_tensor);
    return all && tuple->schema() == nullptr ? ResultKind::kTuple : ResultKind::kOther;
  }
  return ResultKind::kOther;
}

Tensors tensors_of(const IValue& result, ResultKind kind) {
  if (kind == ResultKind::kTensor) return {result.toTensor()};
  if (kind == ResultKind::kList) return result.toTensorVector();
  Tensors tensors;
  for (const IValue& element : result.toTupleRef().elements()) {
    tensors.push_back(element.toTensor());
  }
  return tensors;
}

IValue result_of(Tensors tensors, ResultKind kind) {
  if (kind == ResultKind::kTensor) return std::move(tensors.front());
  if (kind == ResultKind::kList) return c10::List<at::Tensor>(c10::ArrayRef<at::Tensor>(tensors));
  std::vector<IValue> elements;
  for (at::Tensor& tensor : tensors) elements.emplace_back(std::move(tensor));
  return c10::ivalue::Tuple::create(std::move(elements));
}

/// Why there can be no graph of this call, whatever its kernels are; null where there may be one.
const char* reason_against(const Operation& operation, const std::vector<IValue>& arguments,
                           const CallParts& parts, ResultKind kind, at::Device device, Data data) {
  if (const char* const why = operation.target().why_no_graph()) return why;
  switch (operation.effects(arguments)) {
    case Effects::kWrites:
      return "it writes to its arguments";
    case Effects::kChance:
      return "it draws random numbers";
    case Effects::kNone:
      break;
  }
  if (operation.gives_views()) return "its result may share memory with an argument";
  if (kind == ResultKind::kOther) return "its result is not made of tensors alone";
  if (!parts.complete) return "an argument is neither tensor, number, text, list nor tuple";
  if (parts.tensors.empty()) return "it has no tensor among its arguments";
  if (data == Data::kAsGiven &&
      !std::all_of(parts.tensors.begin(), parts.tensors.end(),
                   [&](const at::Tensor& tensor) { return tensor.device() == device; })) {
    return "an argument is not on the executor's device (data = Data::kHost brings it there)";
  }
  return nullptr;
}

}  // namespace

IValue run_on(at::Device device, const Operation& operation, std::vector<IValue> arguments,
              Data data) {
  if (data == Data::kAsGiven) return operation.run(std::move(arguments));
  for (IValue& argument : arguments) argument = moved(argument, device);
  return moved(operation.run(std::move(arguments)), at::kCPU);
}

IValue CallGraphs::run_plainly(const Operation& operation, std::vector<IValue> arguments,
                               Data data) {
  cache_.count_eager();
  try {
    return run_on(cache_.device(), operation, std::move(arguments), data);
  } catch (const std::exception& error) {
    if (is_out_of_memory(error)) cache_.ran_out_of_memory();
    throw;
  }
}

IValue CallGraphs::run(TaskContext& context, const Operation& operation,
                       std::vector<IValue> arguments, GraphUse use, Data data) {
  if (use == GraphUse::kNever) return run_plainly(operation, std::move(arguments), data);
  CallParts parts = take_apart(arguments);
  const ResultKind kind = result_kind(operation.target().schema());
  if (const char* const why =
          reason_against(operation, arguments, parts, kind, cache_.device(), data)) {
    if (use == GraphUse::kAlways) throw NotCapturable(operation.name() + ": " + why);
    return run_plainly(operation, std::move(arguments), data);
  }
  // libtorch compiles a method in its first runs, by what it sees there.
  const std::size_t first_runs = operation.kind() == Operation::Kind::kMethod ? 2 : 0;
  const GraphFunction function({.id = operation.target().graph_id(),
                                .constants = std::move(parts.rest),
                                .uses = operation.shared_target(),
                                .first_runs = first_runs},
                               [operation, arguments = std::move(arguments), kind,
                                has_run = false](const Tensors& inputs) mutable {
                                 // What the run showed, the capture after it heeds.
                                 const char* const why = operation.target().why_no_graph();
                                 if (std::exchange(has_run, true) && why != nullptr)
                                   throw NotCapturable(why);
                                 return tensors_of(
                                     operation.run_watched(with_tensors(arguments, inputs)), kind);
                               });
  // As the operation runs without, and a replay has none: the key is the same for every caller.
  const at::NoGradGuard no_grad;
  try {
    Tensors results = cache_.run(
        context, function, parts.tensors,
        {.use = use, .results = data == Data::kHost ? GraphResults::kHost : GraphResults::kDevice});
    return result_of(std::move(results), kind);
  } catch (const NotCapturable& error) {
    throw NotCapturable(operation.name() + ": " + error.what());
  }
}

}  // namespace streamgate::executor
