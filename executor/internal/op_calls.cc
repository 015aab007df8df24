// SPDX-License-Identifier: Apache-2.0
//
// One record-function callback for each thread that has a listener. Of the thread and not global:
// adding a global one is not safe while other threads call operators
// (ATen/record_function.h, 1.13).
#include <streamgate/executor/internal/op_calls.h>

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>

#include <memory>

namespace streamgate::executor {
namespace {

thread_local OpListener* first_listener = nullptr;
thread_local at::CallbackHandle callback = 0;

// Calls nest on a thread, so counting is enough to know which end belongs to which beginning; an
// end without one is of a call that began before the listener listened.

std::unique_ptr<at::ObserverContext> on_begin(const at::RecordFunction& function) {
  const OpCall call(function);
  for (OpListener* l = first_listener; l != nullptr; l = l->place.next) {
    if (l->place.depth == 0 && l->begins(call) == OpListener::Takes::kWhatItCalls) {
      ++l->place.looked_through;
    } else {
      ++l->place.depth;
    }
  }
  return nullptr;
}

void on_end(const at::RecordFunction& function, at::ObserverContext*) {
  const OpCall call(function);
  for (OpListener* l = first_listener; l != nullptr; l = l->place.next) {
    if (l->place.depth != 0) {
      if (--l->place.depth == 0) l->ended(call);
    } else if (l->place.looked_through != 0) {
      --l->place.looked_through;
    }
  }
}

}  // namespace

void start_listening(OpListener& listener) {
  if (first_listener == nullptr) {
    callback = at::addThreadLocalCallback(at::RecordFunctionCallback(&on_begin, &on_end)
                                              .needsOutputs(true)
                                              .scopes({at::RecordScope::FUNCTION}));
  }
  listener.place = {.next = first_listener};
  first_listener = &listener;
}

void stop_listening(OpListener& listener) noexcept {
  OpListener** link = &first_listener;
  while (*link != &listener) link = &(*link)->place.next;
  *link = listener.place.next;
  if (first_listener == nullptr) at::removeCallback(callback);
}

// ---- a call ----

namespace {

/// An optional handle.
auto handle_of(const at::RecordFunction& function) {
  const auto name = function.operator_name();
  using Handle = decltype(c10::Dispatcher::singleton().findSchema(*name));
  return name ? c10::Dispatcher::singleton().findSchema(*name) : Handle();
}

}  // namespace

std::string_view OpCall::name() const noexcept { return function_.name(); }

std::string OpCall::full_name() const {
  const auto name = function_.operator_name();
  if (!name) return function_.name();
  return name->overload_name.empty() ? name->name : name->name + "." + name->overload_name;
}

bool OpCall::is_view() const {
  const auto handle = handle_of(function_);
  if (!handle) return false;
  for (const c10::Argument& result : handle->schema().returns()) {
    if (result.alias_info() != nullptr && !result.alias_info()->isWrite()) return true;
  }
  return false;
}

bool OpCall::is_made_of_others() const {
  const auto handle = handle_of(function_);
  return handle && handle->hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd);
}

std::span<std::byte> OpCall::floating_point_memory() const {
  for (const c10::IValue& output : function_.outputs()) {
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

}  // namespace streamgate::executor
