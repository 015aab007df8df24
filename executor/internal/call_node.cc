// SPDX-License-Identifier: Apache-2.0
//
// The doors for calls.
#include <streamgate/executor/internal/call_node.h>

#include <streamgate/executor/internal/core.h>
#include <streamgate/executor/internal/module_registry.h>
#include <streamgate/executor/internal/operation_target.h>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue_inl.h>
#include <ATen/ops/empty.h>

#include <exception>

namespace streamgate::executor {
namespace {

using c10::IValue;

std::size_t tensor_bytes(const IValue& value) {
  std::size_t bytes = 0;
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    return tensor.defined() && tensor.layout() == at::kStrided ? tensor.nbytes() : 0;
  }
  if (value.isList()) {
    for (const IValue& element : value.toListRef()) bytes += tensor_bytes(element);
  } else if (value.isTuple()) {
    for (const IValue& element : value.toTupleRef().elements()) bytes += tensor_bytes(element);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) bytes += tensor_bytes(entry.value());
  }
  return bytes;
}

}  // namespace

std::size_t tensor_bytes(const std::vector<IValue>& values) {
  std::size_t bytes = 0;
  for (const IValue& value : values) bytes += tensor_bytes(value);
  return bytes;
}

TaskOptions task_options(const CallOptions& options, const Call& call, const Core& core) {
  const bool learns = !options.memory_bytes && core.learns_memory_of_calls();
  return {.op_class = options.op_class.value_or(call.operation.op_class()),
          .priority = options.priority,
          .deadline = options.deadline,
          .stop = options.stop,
          .cost_bytes = options.cost_bytes ? *options.cost_bytes : tensor_bytes(call.arguments),
          .memory_bytes = options.memory_bytes.value_or(0),
          .learn_memory = learns ? &call.operation.target().memory() : nullptr,
          .name = options.name,
          .trace = options.trace};
}

void Executor::register_module(std::string name, const std::filesystem::path& file) {
  static_cast<void>(modules_->add({.name = std::move(name), .path = file}));
}

Operation Executor::operation(std::string_view name) const {
  return Operation::resolve(name, *modules_, &classifier());
}

at::Tensor Executor::empty_shared(const std::vector<std::int64_t>& sizes, c10::ScalarType dtype) {
#if STREAMGATE_WITH_WORKERS
  return executor::empty_shared(core(), sizes, dtype);
#else
  return at::empty(sizes, dtype);
#endif
}

Call Executor::make_call(const Operation& operation, std::vector<IValue> inputs,
                         const CallOptions& options) const {
  if (options.graph == GraphUse::kAlways && graphs_ == nullptr) {
    throw OperationError(operation.name() +
                         ": the call shall be captured as a graph, and the backend " +
                         std::string(core_->backend().name()) +
                         " of this executor has none; remedy: graph = GraphUse::kAuto, or a device "
                         "with graphs and cuda.graph_cache_bytes above 0");
  }
  return {.operation = operation,
          .arguments = operation.bind(std::move(inputs)),
          .graph = options.graph,
          .data = options.data,
          .graphs = graphs_.get(),
          .device = modules_->device()};
}

Future<IValue> Executor::call(const Operation& operation, std::vector<IValue> inputs,
                              const CallOptions& options) {
  Call call = make_call(operation, std::move(inputs), options);
  const TaskOptions task = task_options(options, call, core());
  const auto traits = traits_of(options, call, core());
  auto* const node = new SubmittedCall(task, core(), std::move(call), traits);
  Future<IValue> future(node);
  submit_node(*node, options.stop);
  return future;
}

Result<IValue> Executor::run(const Operation& operation, std::vector<IValue> inputs,
                             const CallOptions& options) {
  Call call = make_call(operation, std::move(inputs), options);
  const TaskOptions task = task_options(options, call, core());
  const auto traits = traits_of(options, call, core());
  CallerCall node(task, core(), std::move(call), traits);
  Result<IValue> result = node.take(run_node(node, options.stop));
  if (result.outcome() == Outcome::kFailed) std::rethrow_exception(result.error());
  return result;
}

}  // namespace streamgate::executor
