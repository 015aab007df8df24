// SPDX-License-Identifier: Apache-2.0
//
// Hears from libtorch of every operator that a thread calls, and has the outermost ones encoded.
// libtorch has done the maths on the CPU by then; what the emulator adds is where and when Metal
// would have encoded it, and what that may lead to.
#include <streamgate/executor/backends/emulator/op_observer.h>

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>

#include <cstdint>
#include <memory>
#include <string_view>

namespace streamgate::executor::emulator::internal {
namespace {

/// Operators that are running on this thread, one inside the other; views do not count.
thread_local unsigned depth = 0;

/// Marks a call that is not counted in depth.
struct Transparent final : at::ObserverContext {};

/// A view, or what may turn out as one (reshape, contiguous, to): its result may share the memory
/// of its input. Metal encodes nothing for that; where it copies after all, it calls an operator
/// that is seen for itself.
bool is_view(const at::RecordFunction& function) {
  const auto name = function.operator_name();
  if (!name) return false;
  const auto handle = c10::Dispatcher::singleton().findSchema(*name);
  if (!handle) return false;
  for (const c10::Argument& result : handle->schema().returns()) {
    if (result.alias_info() != nullptr && !result.alias_info()->isWrite()) return true;
  }
  return false;
}

std::span<std::byte> floating_point_memory(const at::RecordFunction& function) {
  for (const c10::IValue& output : function.outputs()) {
    if (!output.isTensor()) continue;
    const at::Tensor& tensor = output.toTensor();
    if (!tensor.defined() || !tensor.is_floating_point() || !tensor.device().is_cpu() ||
        tensor.layout() != at::kStrided || !tensor.is_non_overlapping_and_dense()) {
      continue;
    }
    return {static_cast<std::byte*>(tensor.data_ptr()), static_cast<std::size_t>(tensor.nbytes())};
  }
  return {};
}

/// These hand a number to the host, and encode nothing but the wait for it.
bool reads_back(std::string_view name) {
  return name == "aten::item" || name == "aten::_local_scalar_dense" || name == "aten::is_nonzero";
}

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& function) {
  if (depth == 0 && operators_are_encoded() && is_view(function)) {
    return std::make_unique<Transparent>();
  }
  ++depth;
  return nullptr;
}

void on_end(const at::RecordFunction& function, at::ObserverContext* context) {
  if (context != nullptr) return;
  if (--depth != 0 || !operators_are_encoded()) return;
  const std::string_view name = function.name();
  if (reads_back(name)) {
    wait_for_operators();
  } else {
    encode_operator(name, floating_point_memory(function));
  }
}

}  // namespace

void observe_operators_of_this_thread() {
  thread_local bool observed = false;
  if (observed) return;
  observed = true;
  // Of the thread and not global: adding a global one is not safe while other threads call
  // operators (ATen/record_function.h, 1.13). It is not taken back: between tasks it sees at once
  // that there is nothing to do.
  at::addThreadLocalCallback(at::RecordFunctionCallback(&on_start, &on_end)
                                 .needsOutputs(true)
                                 .scopes({at::RecordScope::FUNCTION}));
}

}  // namespace streamgate::executor::emulator::internal
