// SPDX-License-Identifier: Apache-2.0
//
// Calls as tasks, one node for each door: an operation and its arguments in place of a callable. To
// the gate, the queue and the counters they are tasks like any other.
#pragma once

#include <streamgate/executor/call.h>
#include <streamgate/executor/executor.h>
#include <streamgate/executor/future.h>
#include <streamgate/executor/operation.h>

#include <ATen/core/ivalue.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace streamgate::executor {

/// What is called, with what.
struct Call {
  Operation operation;
  std::vector<c10::IValue> arguments;  ///< As Operation::bind gives them.

  /// Once.
  [[nodiscard]] c10::IValue run() { return operation.run(std::move(arguments)); }
};

/// The bytes of all tensors in the values.
[[nodiscard]] std::size_t tensor_bytes(const std::vector<c10::IValue>& values);

/// A call's own options as a task's. `call` is the one that they are for.
[[nodiscard]] TaskOptions task_options(const CallOptions& options, const Call& call);

/// A submitted call: operation, arguments, state and result in one allocation.
class SubmittedCall final : public StateOf<c10::IValue>, public TaskNode {
 public:
  SubmittedCall(const TaskOptions& options, Core& owner, Call call)
      : StateOf<c10::IValue>(this),
        TaskNode(options, *options.op_class, owner, Door::kSubmit),
        call_(std::move(call)) {}

  Outcome invoke(TaskContext&) noexcept override {
    return keep([this] { return call_.run(); });
  }
  void fail(std::exception_ptr error) noexcept override { keep_error(std::move(error)); }
  [[nodiscard]] Waiter* publish(Outcome result) noexcept override {
    // Those that were never run end with the task, not with the last future.
    call_.arguments.clear();
    return complete_untold(result);
  }
  void release_by_executor() noexcept override { release(); }

 protected:
  void destroy() noexcept override { delete this; }

 private:
  Call call_;
};

/// A call on the stack of a thread that waits for it.
class CallerCall final : public CallerNode {
 public:
  CallerCall(const TaskOptions& options, Core& owner, Call call)
      : CallerNode(options, *options.op_class, owner, Door::kRun), call_(std::move(call)) {}

  Outcome invoke(TaskContext&) noexcept override {
    return state_.keep([this] { return call_.run(); });
  }
  void fail(std::exception_ptr error) noexcept override { state_.keep_error(std::move(error)); }
  [[nodiscard]] Result<c10::IValue> take(Outcome result) {
    state_.complete(result);
    return state_.take();
  }

 private:
  struct State final : StateOf<c10::IValue> {
    State() : StateOf<c10::IValue>(nullptr) {}
    void destroy() noexcept override {}
  };
  Call call_;
  State state_;
};

}  // namespace streamgate::executor
