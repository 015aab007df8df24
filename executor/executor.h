// SPDX-License-Identifier: Apache-2.0
//
// The executor: the two doors through which work comes, and the handles of an operator (drain,
// reload, snapshot). How a task goes on from here is in internal/core.h.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/call.h>
#include <streamgate/executor/classifier.h>
#include <streamgate/executor/drain.h>
#include <streamgate/executor/future.h>
#include <streamgate/executor/outcome.h>
#include <streamgate/executor/parker.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/task.h>
#include <streamgate/executor/trace.h>
#include <streamgate/policies/config.h>
#include <streamgate/policies/limit_policy.h>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace at {
class Tensor;
}
namespace c10 {
enum class ScalarType : std::int8_t;
struct IValue;
}  // namespace c10

namespace streamgate::executor {

struct Call;
class CallGraphs;
class GraphDevice;
class ModuleRegistry;
class Operation;

struct ExecutorOptions {
  policies::Config config{};
  /// Null: the backend that the config names.
  std::unique_ptr<Backend> backend{};
  /// Classes that were measured as unsafe together.
  std::vector<std::pair<policies::OpClass, policies::OpClass>> incompatible{};
  /// Makes the limit policies; null: policies::make_limit_policy. For policies of one's own.
  std::function<std::unique_ptr<policies::LimitPolicy>(policies::OpClass,
                                                       const policies::LimitPolicyOptions&)>
      limit_policy{};
  /// Is told of tasks that have ended; null: nobody. Borrowed, see trace.h.
  TaskObserver* observer = nullptr;
  Observed observed = Observed::kTraced;
  /// Makes what captures the graphs of calls; empty: the backend's, if its device has graphs.
  std::function<std::unique_ptr<GraphDevice>()> graphs{};
};

/// A task given to Executor::run, as far as it does not depend on the callable. Not for users.
class CallerNode : public TaskNode {
 public:
  using TaskNode::TaskNode;
  [[nodiscard]] Waiter* publish(Outcome outcome) noexcept final;
  void wake_to_run() noexcept final;

  /// Blocks until the task may run (true) or has ended without (false).
  [[nodiscard]] bool wait_turn();

 private:
  Parker parker_;
  bool may_run_ = false;  ///< Written before the wake, read after the park.
};

namespace internal {

template <typename F>
concept TaskCallable = std::invocable<F&, TaskContext&> || std::invocable<F&>;

template <typename F>
decltype(auto) call(F& callable, TaskContext& context) {
  if constexpr (std::invocable<F&, TaskContext&>) {
    return std::invoke(callable, context);
  } else {
    return std::invoke(callable);
  }
}

template <typename F>
using ResultOf =
    std::decay_t<decltype(call(std::declval<std::decay_t<F>&>(), std::declval<TaskContext&>()))>;

/// A submitted task: callable, state and result in one allocation.
template <typename F, typename T>
class SubmittedTask final : public StateOf<T>, public TaskNode {
 public:
  template <typename G>
  SubmittedTask(const TaskOptions& options, policies::OpClassSet class_set, Core& owner,
                G&& callable)
      : StateOf<T>(this),
        TaskNode(options, class_set, owner, Door::kSubmit),
        callable_(std::in_place, std::forward<G>(callable)) {}

  Outcome invoke(TaskContext& context) noexcept override {
    // What the callable owns ends with the task, in publish: not here, as the device may not be
    // done with the tensors in it, nor with the last future.
    return this->keep([&]() -> decltype(auto) { return call(*callable_, context); });
  }
  void fail(std::exception_ptr error) noexcept override { this->keep_error(std::move(error)); }
  [[nodiscard]] Waiter* publish(Outcome result) noexcept override {
    callable_.reset();
    return this->complete_untold(result);
  }
  void release_by_executor() noexcept override { this->release(); }

 protected:
  void destroy() noexcept override { delete this; }

 private:
  std::optional<F> callable_;
};

/// A task on its caller's stack.
template <typename F, typename T>
class RunTask final : public CallerNode {
 public:
  RunTask(const TaskOptions& options, policies::OpClassSet class_set, Core& owner, F& callable)
      : CallerNode(options, class_set, owner, Door::kRun), callable_(callable) {}

  Outcome invoke(TaskContext& context) noexcept override {
    return state_.keep([&]() -> decltype(auto) { return call(callable_, context); });
  }
  void fail(std::exception_ptr error) noexcept override { state_.keep_error(std::move(error)); }
  [[nodiscard]] Result<T> take(Outcome result) {
    state_.complete(result);
    return state_.take();
  }

 private:
  struct State final : StateOf<T> {
    State() : StateOf<T>(nullptr) {}
    void destroy() noexcept override {}
  };
  F& callable_;
  State state_;
};

}  // namespace internal

/// Runs libtorch work from every thread of a service: each task holds a permit of its op class and
/// a stream of its own until the device is done with it.
///
/// Thread-safety: thread-safe; construct it on the thread that should initialise the device.
/// Ownership: owns backend, threads and streams. A future may outlive it. References that a
/// callable captured must live until its task has ended; after the destructor every task has.
/// Blocking: submit never blocks. run blocks for its turn and its work. drain and the destructor
/// block to their deadline; if a running task does not end by then, the destructor waits on, since
/// it cannot take the ground from under it, and says so on stderr.
/// Failure: outcomes are values, in Result; the constructor throws std::invalid_argument for a
/// config that cannot be, policies::LimitsError for a limits file and policies::OpTableError for an
/// op table that cannot be used, and std::runtime_error for a backend that cannot be initialised.
/// Inside a task: submit as anywhere. run, and get on a task that still waits, run the inner task
/// inline, under the outer one's permit where that covers its class, else under a permit that is
/// free at once, else they throw NestedWaitError; never a silent deadlock.
///
///     streamgate::Executor executor;
///     auto sum = executor.submit([] { return torch::ones({2, 2}).sum().item<float>(); });
///     auto now = executor.run({.deadline = in_10_ms}, [&] { return model.forward(inputs); });
///     std::cout << *sum.get() << ' ' << to_string(now.outcome()) << '\n';
///     executor.drain(streamgate::Drain::kFinish, std::chrono::seconds(5));
class Executor {
 public:
  explicit Executor(ExecutorOptions options = {});
  /// With the config of a file; throws policies::ConfigError for one that cannot be used.
  explicit Executor(const std::filesystem::path& config_file);
  /// Safe at any time: rejects what is new, cancels what waits, and waits for what runs.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Hands the callable to the arena. It is called with a TaskContext& if it takes one, once, on a
  /// worker, or never if the outcome says so. One allocation.
  template <typename F>
  requires internal::TaskCallable<std::decay_t<F>>
  [[nodiscard]] Future<internal::ResultOf<F>> submit(const TaskOptions& options, F&& callable) {
    using T = internal::ResultOf<F>;
    auto* task = new internal::SubmittedTask<std::decay_t<F>, T>(options, classify(options), core(),
                                                                 std::forward<F>(callable));
    Future<T> future(task);
    submit_node(*task, options.stop);
    return future;
  }
  template <typename F>
  requires internal::TaskCallable<std::decay_t<F>>
  [[nodiscard]] auto submit(F&& callable) {
    return submit(TaskOptions{}, std::forward<F>(callable));
  }

  /// Runs the callable on this thread: at once if a permit is free and nobody waits for it, else in
  /// its turn. Rethrows what the callable throws. Allocates nothing.
  template <typename F>
  requires internal::TaskCallable<std::remove_reference_t<F>> Result<internal::ResultOf<F>> run(
      const TaskOptions& options, F&& callable) {
    using T = internal::ResultOf<F>;
    internal::RunTask<std::remove_reference_t<F>, T> task(options, classify(options), core(),
                                                          callable);
    Result<T> result = task.take(run_node(task, options.stop));
    if (result.outcome() == Outcome::kFailed) std::rethrow_exception(result.error());
    return result;
  }
  template <typename F>
  requires internal::TaskCallable<std::remove_reference_t<F>>
  auto run(F&& callable) { return run(TaskOptions{}, std::forward<F>(callable)); }

  // ---- calls; only in builds with libtorch, see operation.h ----

  /// Loads a TorchScript module for calls of its methods, on the backend's device, and sets it to
  /// evaluation; or an AOTInductor package (.pt2, libtorch 2.6 and later), which was compiled for
  /// that device. The same again changes nothing. Blocks while it loads. A package is machine code
  /// that runs as this process. Throws OperationError for a file that is neither, or a name that
  /// stands for another.
  void register_module(std::string name, const std::filesystem::path& file);
  /// The operation of that name: "aten::add.Tensor", "encoder.forward". Resolve once, call often.
  /// Throws OperationError.
  [[nodiscard]] Operation operation(std::string_view name) const;

  /// Submits a call: a task that names its work, so that another process may run it as well. The
  /// value is the operation's result, a tuple for several and None for none. Throws OperationError,
  /// with nothing submitted, for arguments that the operation does not take. The arguments must not
  /// be written to before the task has ended. One allocation, where the inputs have room for the
  /// arguments left out. On a device with graphs a call that comes again is replayed as one
  /// (CallOptions::graph).
  [[nodiscard]] Future<c10::IValue> call(const Operation& operation,
                                         std::vector<c10::IValue> inputs,
                                         const CallOptions& options = {});
  /// The same for a caller that would wait anyway: as run for a closure.
  Result<c10::IValue> run(const Operation& operation, std::vector<c10::IValue> inputs,
                          const CallOptions& options = {});

  /// A contiguous tensor on the CPU for the caller to fill, in memory that a worker process shares:
  /// a call that takes it there copies nothing of it, and prefers that worker. In ordinary memory
  /// where no worker is ready or has room, so that it always may be used. Holds the room, of
  /// overflow.arena_bytes, until it ends.
  [[nodiscard]] at::Tensor empty_shared(const std::vector<std::int64_t>& sizes,
                                        c10::ScalarType dtype);

  /// Rejects new tasks from now on and waits, at most so long, until the others have ended as the
  /// mode says. A second drain may be stricter than the first. REQUIRES: not called from a task.
  DrainReport drain(Drain mode, Clock::time_point deadline);
  template <typename Rep, typename Period>
  DrainReport drain(Drain mode, std::chrono::duration<Rep, Period> at_most) {
    return drain(mode, Clock::now() + std::chrono::duration_cast<Clock::duration>(at_most));
  }

  /// Applies the keys of the config that are live, and returns the names of the changed keys that
  /// take effect only on a restart. Throws std::invalid_argument, with nothing changed, for limits
  /// that this executor cannot have.
  std::vector<std::string_view> apply(const policies::Config& config);
  /// Reads the file, and the limits file that it names, and applies it. Limits other than those
  /// that this executor was built with are for a restart: then "limits.file" is among the names.
  /// Throws as the constructor, with nothing changed, for a file that cannot be used, and counts
  /// that. ConfigWatcher does this when a file has changed.
  std::vector<std::string_view> reload(const std::filesystem::path& config_file);
  /// Moves a limit, clamped to 1..ceiling, and returns where it is now.
  std::size_t set_limit(policies::OpClass op_class, std::size_t limit) noexcept;
  /// The config in effect.
  [[nodiscard]] policies::Config config() const;

  /// Sums up the counters; some microseconds, no lock of the task path but the queue's, briefly.
  [[nodiscard]] Snapshot snapshot() const;
  [[nodiscard]] Provenance provenance() const;
  /// The op classes of operations and modules here. Lives as long as the executor.
  [[nodiscard]] const Classifier& classifier() const noexcept;

 private:
  [[nodiscard]] Call make_call(const Operation& operation, std::vector<c10::IValue> inputs,
                               const CallOptions& options) const;
  [[nodiscard]] std::vector<std::string_view> take_over(const policies::Config& config);
  [[nodiscard]] Core& core() noexcept { return *core_; }
  [[nodiscard]] policies::OpClassSet classify(const TaskOptions& options) const noexcept;
  void submit_node(TaskNode& node, const std::stop_token& stop) noexcept;
  [[nodiscard]] Outcome run_node(CallerNode& node, const std::stop_token& stop);

  std::unique_ptr<Core> core_;
  std::shared_ptr<ModuleRegistry> modules_;  // Not shared: a type that a build may lack.
  std::shared_ptr<CallGraphs> graphs_;       // Likewise; null on a device without graphs.
};

}  // namespace streamgate::executor
