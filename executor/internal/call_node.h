// SPDX-License-Identifier: Apache-2.0
//
// Calls as tasks, one node for each door: an operation and its arguments in place of a callable. To
// the gate, the queue and the counters they are tasks like any other.
#pragma once

#include <streamgate/executor/call.h>
#include <streamgate/executor/executor.h>
#include <streamgate/executor/future.h>
#include <streamgate/executor/internal/call_graphs.h>
#include <streamgate/executor/operation.h>

#if STREAMGATE_WITH_WORKERS
#include <streamgate/executor/workers/codec.h>
#include <streamgate/executor/workers/portable_call.h>
#endif

#include <ATen/core/ivalue.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace streamgate::executor {

/// What is called, with what, and how.
struct Call {
  Operation operation;
  std::vector<c10::IValue> arguments;  ///< As Operation::bind gives them.
  GraphUse graph = GraphUse::kNever;
  Data data = Data::kAsGiven;
  CallGraphs* graphs = nullptr;  ///< Null on a device without graphs.
  at::Device device = at::kCPU;  ///< The executor's.

  /// Once, in its task. The arguments end with it, or stay where its memory is measured: what was
  /// there before is not of the call.
  [[nodiscard]] c10::IValue run(TaskContext& context, bool keeps_arguments) {
    auto given = keeps_arguments ? arguments : std::move(arguments);
    return graphs == nullptr ? run_on(device, operation, std::move(given), data)
                             : graphs->run(context, operation, std::move(given), graph, data);
  }
};

/// The bytes of all tensors in the values.
[[nodiscard]] std::size_t tensor_bytes(const std::vector<c10::IValue>& values);

/// A call's own options as a task's. `call` is the one that they are for.
[[nodiscard]] TaskOptions task_options(const CallOptions& options, const Call& call,
                                       const Core& core);

#if STREAMGATE_WITH_WORKERS

/// A call on its way to a worker and back.
class CallAway final : public PortableCall {
 public:
  CallAway(TaskNode& its_node, const Traits& its_traits, const Call& call,
           StateOf<c10::IValue>& state) noexcept
      : PortableCall(its_node, its_traits), call_(call), state_(state) {}

  Outcome take(CallEnd& end) noexcept override;
  void keep_evidence(Outcome outcome, const std::string& evidence) noexcept override;
  std::uint64_t fingerprint() const noexcept override;
  std::string_view operation_name() const noexcept override { return call_.operation.name(); }
  BlockReference write(Channel& to_worker) override;
  void sent() noexcept override;
  void not_sent(Channel& to_worker) noexcept override;
  void hold() noexcept override;
  void let_go() noexcept override;
  void recall() noexcept;

 private:
  const Call& call_;
  StateOf<c10::IValue>& state_;
  std::optional<EncodedValues> encoded_;
};

/// What a call is to a worker; nothing for one that no worker may run. Throws OperationError for
/// one that only a worker may run, and none can.
[[nodiscard]] std::optional<PortableCall::Traits> traits_of(const CallOptions& options,
                                                            const Call& call, const Core& core);

/// See Executor::empty_shared.
[[nodiscard]] at::Tensor empty_shared(Core& core, const std::vector<std::int64_t>& sizes,
                                      c10::ScalarType dtype);

#else

/// No call leaves this process in this build.
class CallAway {};
inline std::optional<CallAway> traits_of(const CallOptions& options, const Call& call,
                                         const Core&) {
  if (options.place != Place::kWorker) return std::nullopt;
  throw OperationError(call.operation.name() +
                       ": the call shall run in a worker, and this build has none");
}

#endif

/// A submitted call: operation, arguments, state and result in one allocation.
class SubmittedCall final : public StateOf<c10::IValue>, public TaskNode {
 public:
  template <typename Traits>
  SubmittedCall(const TaskOptions& options, Core& owner, Call call,
                const std::optional<Traits>& traits)
      : StateOf<c10::IValue>(this),
        TaskNode(options, *options.op_class, owner, Door::kSubmit),
        call_(std::move(call)) {
#if STREAMGATE_WITH_WORKERS
    if (traits) away_.emplace(*this, *traits, call_, *this);
#endif
  }

  Outcome invoke(TaskContext& context) noexcept override {
    return keep([&] { return call_.run(context, measures_memory); });
  }
  void fail(std::exception_ptr error) noexcept override { keep_error(std::move(error)); }
  [[nodiscard]] Waiter* publish(Outcome result) noexcept override {
    // Those that were never run end with the task, not with the last future.
    call_.arguments.clear();
    return complete_untold(result);
  }
  void release_by_executor() noexcept override { release(); }
#if STREAMGATE_WITH_WORKERS
  PortableCall* portable() noexcept override { return away_ ? &*away_ : nullptr; }
  const PortableCall* portable() const noexcept override { return away_ ? &*away_ : nullptr; }
  void recall() noexcept override {
    if (away_) away_->recall();
  }
#endif

 protected:
  void destroy() noexcept override { delete this; }

 private:
  Call call_;
  std::optional<CallAway> away_;
};

/// A call on the stack of a thread that waits for it.
class CallerCall final : public CallerNode {
 public:
  template <typename Traits>
  CallerCall(const TaskOptions& options, Core& owner, Call call,
             const std::optional<Traits>& traits)
      : CallerNode(options, *options.op_class, owner, Door::kRun), call_(std::move(call)) {
#if STREAMGATE_WITH_WORKERS
    if (traits) away_.emplace(*this, *traits, call_, state_);
#endif
  }

  Outcome invoke(TaskContext& context) noexcept override {
    return state_.keep([&] { return call_.run(context, measures_memory); });
  }
  void fail(std::exception_ptr error) noexcept override { state_.keep_error(std::move(error)); }
  [[nodiscard]] Result<c10::IValue> take(Outcome result) {
    state_.complete(result);
    return state_.take();
  }
#if STREAMGATE_WITH_WORKERS
  PortableCall* portable() noexcept override { return away_ ? &*away_ : nullptr; }
  const PortableCall* portable() const noexcept override { return away_ ? &*away_ : nullptr; }
  void recall() noexcept override {
    if (away_) away_->recall();
  }
#endif

 private:
  struct State final : StateOf<c10::IValue> {
    State() : StateOf<c10::IValue>(nullptr) {}
    void destroy() noexcept override {}
  };
  Call call_;
  State state_;
  std::optional<CallAway> away_;
};

}  // namespace streamgate::executor
