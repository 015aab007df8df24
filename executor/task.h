// SPDX-License-Identifier: Apache-2.0
//
// A task: what the executor knows of one unit of work on its way from submission to its end, and
// what the work itself sees of that while it runs. Users meet TaskOptions and TaskContext; TaskNode
// is installed because the templates of Executor need it.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/outcome.h>
#include <streamgate/executor/trace.h>
#include <streamgate/policies/op_class.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string_view>

namespace streamgate::executor {

class Core;
class LearnedClass;
class LearnedMemory;
class PortableCall;
class Waiter;

using Clock = std::chrono::steady_clock;

/// Which of the waiting tasks goes first.
enum class Priority : std::uint8_t { kLowest, kLow, kNormal, kHigh, kHighest };

inline constexpr std::size_t kPriorities = 5;

/// How a task wants to be treated. All fields have defaults; use designated initialisers.
struct TaskOptions {
  /// Nothing: the backend's default, which is the restrictive kernel+graph except on the CPU.
  std::optional<policies::OpClassSet> op_class{};
  /// Learns the class from the first runs (learned_class.h); unused where op_class says it. Must
  /// live until the task has ended. A pointer to what the caller keeps, so that nothing has to be
  /// looked up for a task.
  LearnedClass* learn = nullptr;
  Priority priority = Priority::kNormal;
  /// The task expires when it has not started by then.
  Clock::time_point deadline = Clock::time_point::max();
  /// Cancels the task: at once while it waits, by TaskContext while it runs. Costs an allocation
  /// of the standard library's only in the source that the caller made.
  std::stop_token stop{};
  /// What the task counts for in the queue's bound on bytes.
  std::size_t cost_bytes = 0;
  /// The most device memory that the task will hold at a time, beside what is there before it: it
  /// starts when the memory budget has that left. 0: it needs none, or learn_memory knows.
  std::size_t memory_bytes = 0;
  /// Learns that number from the first runs (learned_memory.h); memory_bytes is then the first
  /// guess. Must live until the task has ended.
  LearnedMemory* learn_memory = nullptr;
  /// For logs and traces. The text must outlive the task; a literal does.
  std::string_view name{};
  /// Whose work this is part of; for the executor's observer (trace.h).
  std::optional<TraceContext> trace{};
};

/// Thrown by TaskContext::throw_if_cancelled: the task ends as kCancelled.
struct Cancelled {};

/// Thrown where a task would have to wait for something that may be waiting for the task: for the
/// gate, or for a task that waits for this one. The remedy: Future::then, co_await, or an op class
/// for the outer task that covers the inner one's.
class NestedWaitError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

class TaskNode;

/// What a running task sees of itself. Confined to the task's thread and time.
class TaskContext {
 public:
  TaskContext(const TaskNode& node, StreamIndex stream,
              const std::atomic<bool>& cancel_all) noexcept
      : node_(node), stream_(stream), cancel_all_(cancel_all) {}

  /// The slot of the stream that the task holds alone, and that is current on this thread.
  [[nodiscard]] StreamIndex stream() const noexcept { return stream_; }
  [[nodiscard]] Clock::time_point deadline() const noexcept;
  [[nodiscard]] std::string_view name() const noexcept;
  /// As in TaskOptions: for the requests that the task makes.
  [[nodiscard]] const std::optional<TraceContext>& trace() const noexcept;
  /// Whether Future::cancel, the stop_token or a drain has asked the task to leave.
  [[nodiscard]] bool cancel_requested() const noexcept;
  /// Throws Cancelled if so.
  void throw_if_cancelled() const {
    if (cancel_requested()) throw Cancelled{};
  }

 private:
  const TaskNode& node_;
  StreamIndex stream_;
  const std::atomic<bool>& cancel_all_;  ///< The executor's: Drain::kCancelAll.
};

/// What a place in the queue needs; see internal/admission_queue.h. Not for users.
struct QueueLinks {
  QueueLinks* next = nullptr;      ///< Inbox: older submission. FIFO: younger. Tree: right.
  QueueLinks* previous = nullptr;  ///< FIFO: older. Tree: left.
  QueueLinks* parent = nullptr;    ///< Tree.
  bool red = false;                ///< Tree.
  bool linked = false;             ///< Whether it has a place in the lanes.
};

/// The executor's view of one task. Not for users.
///
/// Thread-safety: `phase` says who may touch the rest. Whoever moves it from kInbox or kQueued to
/// kClaimed owns the task from then on; nobody else ends it.
class TaskNode : public QueueLinks, public StreamDone {
 public:
  enum class Phase : std::uint8_t {
    kInbox,    ///< Submitted; in no order yet.
    kQueued,   ///< In its place in the queue; links belong to the queue's lock.
    kClaimed,  ///< Somebody is about to run it, or to end it without running.
    kRunning,
    kEnded
  };
  /// Who runs it: a worker of the arena, or the caller of Executor::run on its own thread.
  enum class Door : std::uint8_t { kSubmit, kRun };

  TaskNode(const TaskOptions& options, policies::OpClassSet class_set, Core& owner, Door task_door)
      : core(owner),
        deadline(options.deadline),
        cost_bytes(options.cost_bytes),
        name(options.name),
        trace(options.trace),
        learn(options.op_class ? nullptr : options.learn),
        learn_memory(options.learn_memory),
        memory_bytes(options.memory_bytes),
        classes(class_set),
        priority(options.priority),
        door(task_door),
        needs_memory(options.memory_bytes != 0 || options.learn_memory != nullptr) {}
  TaskNode(const TaskNode&) = delete;
  TaskNode& operator=(const TaskNode&) = delete;
  virtual ~TaskNode() = default;

  /// Runs the user's callable and keeps its value or exception. Does not publish them.
  virtual Outcome invoke(TaskContext& context) noexcept = 0;
  /// Keeps an exception of the executor's own as the task's, for Outcome::kFailed.
  virtual void fail(std::exception_ptr error) noexcept = 0;
  /// Publishes the outcome; before that it destroys the callable.
  /// The node may be gone when this returns. Returns whom the caller is to tell of it, or null.
  [[nodiscard]] virtual Waiter* publish(Outcome outcome) noexcept = 0;
  /// The same for a task of Door::kSubmit that may be observed: its observer is told before. A task
  /// of Door::kRun is told of by its caller.
  [[nodiscard]] Waiter* observe_and_publish(Outcome result) noexcept {
    if (observer != nullptr && door == Door::kSubmit) [[unlikely]]
      tell_observer(result);
    return publish(result);
  }
  void tell_observer(Outcome result) noexcept;
  /// For the times that only an observer asks for.
  void stamp(Clock::time_point& time) const noexcept {
    if (observer != nullptr) [[unlikely]]
      time = Clock::now();
  }
  /// The part of a call that another process could run; null where there is none.
  [[nodiscard]] virtual PortableCall* portable() noexcept { return nullptr; }
  [[nodiscard]] virtual const PortableCall* portable() const noexcept { return nullptr; }
  /// Asks whoever has that part to give it up. The node may be gone when this returns.
  virtual void recall() noexcept {}
  /// For Door::kRun: wakes the caller, who runs the task with the permit and the lease given.
  virtual void wake_to_run() noexcept {}
  /// The executor's share in the node ends: once, when no part of the executor knows it any more.
  /// For Door::kSubmit.
  virtual void release_by_executor() noexcept {}

  void on_stream_done() noexcept override;

  /// Registers the stop_token's callback, if there is one to register.
  void watch(const std::stop_token& stop);
  /// Afterwards no callback runs or will run. Blocks while one does.
  void unwatch() noexcept { stop_callback_.reset(); }
  /// Ends the executor's share in a task of Door::kSubmit that was cancelled in the inbox. Where
  /// the stop_token's callback cancelled it and is still running, perhaps in a continuation of the
  /// user's, that thread ends the share when it is done: nobody waits for user code here.
  void let_go() noexcept;

  Core& core;
  Clock::time_point submitted{};
  Clock::time_point started{};
  Clock::time_point deadline;
  std::size_t cost_bytes;
  std::uint64_t sequence = 0;  ///< Arrival, given under the queue's lock.
  std::string_view name;
  std::optional<TraceContext> trace;
  TaskObserver* observer = nullptr;  ///< Null, and the next three unused, unless it is observed.
  Clock::time_point admitted{};
  Clock::time_point encoded{};
  Clock::time_point completed{};
  LearnedClass* learn;            ///< Null for a task whose class was said.
  LearnedMemory* learn_memory;    ///< Null for a task that learns nothing of memory.
  std::size_t memory_bytes;       ///< As the task said.
  std::size_t reserved_bytes = 0;  ///< Of the memory budget, from admission on.
  TaskNode* waits_for = nullptr;  ///< Nested waits; belongs to Core's lock for them.
  Waiter* to_tell = nullptr;  ///< Of a call that came back, until a worker of the arena told it.
  StreamIndex stream = 0;     ///< Valid from admission on.
  Outcome outcome = Outcome::kOk;
  policies::OpClassSet classes;
  Priority priority;
  Door door;
  bool in_worker = false;       ///< It was sent to a worker and did not come back to run here.
  bool by_constructor = false;  ///< Door::kRun on the thread that constructed the executor.
  bool needs_memory;            ///< Of the memory budget; most tasks do not.
  bool measures_memory = false;      ///< Of this run, what it holds is measured.
  std::uint8_t memory_overtaken = 0;  ///< Tasks that went ahead while memory was short for this.
  std::atomic<Phase> phase{Phase::kInbox};
  std::atomic<bool> cancel_requested{false};

  [[nodiscard]] bool claim(Phase from) noexcept {
    return phase.compare_exchange_strong(from, Phase::kClaimed, std::memory_order_seq_cst);
  }

 private:
  struct CancelOnStop {
    TaskNode* node;
    void operator()() const noexcept;
  };
  /// Who ends the share that let_go means: the callback if it was running, else let_go.
  enum class StopCall : std::uint8_t { kIdle, kRunning, kLetGo };
  [[nodiscard]] bool claim_by_stop() noexcept;

  std::atomic<StopCall> stop_call_{StopCall::kIdle};
  std::optional<std::stop_callback<CancelOnStop>> stop_callback_;
};

inline Clock::time_point TaskContext::deadline() const noexcept { return node_.deadline; }
inline std::string_view TaskContext::name() const noexcept { return node_.name; }
inline const std::optional<TraceContext>& TaskContext::trace() const noexcept {
  return node_.trace;
}
inline bool TaskContext::cancel_requested() const noexcept {
  // Relaxed: a hint to leave; it publishes nothing.
  return node_.cancel_requested.load(std::memory_order_relaxed) ||
         cancel_all_.load(std::memory_order_relaxed);
}

}  // namespace streamgate::executor
