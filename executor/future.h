// SPDX-License-Identifier: Apache-2.0
//
// The caller's end of a submitted task. It waits, chains and cancels; it knows nothing of gates,
// queues and streams.
#pragma once

#include <streamgate/executor/outcome.h>
#include <streamgate/executor/task.h>

#include <atomic>
#include <cassert>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace streamgate::executor {

/// What cancel could do.
enum class CancelResult : std::uint8_t {
  kCancelled,  ///< The task had not started and never will; its outcome is kCancelled.
  kRequested,  ///< The task runs and has been asked to leave (TaskContext::cancel_requested).
  kTooLate     ///< The task has ended, or nothing that could be cancelled is behind this future.
};

/// Someone to be told, once, that a state is complete. Not for users.
class Waiter {
 public:
  /// Called on the completing thread. The waiter may be gone when this returns. Returns who is to
  /// be told next, or null: a chain of continuations is a loop in `tell`, however long it is.
  [[nodiscard]] virtual Waiter* fire() noexcept = 0;

  /// Whether fire is soon done, as it runs no code of the user's.
  [[nodiscard]] virtual bool brief() const noexcept { return false; }

  static void tell(Waiter* waiter) noexcept {
    while (waiter != nullptr) waiter = waiter->fire();
  }

 protected:
  ~Waiter() = default;
};

/// What a future and the producer of its value share: a count of the two, and one waiter. Not for
/// users.
///
/// Thread-safety: one producer calls complete once; one consumer calls the rest.
class SharedState {
 public:
  explicit SharedState(TaskNode* node) noexcept : node_(node) {}
  SharedState(const SharedState&) = delete;
  SharedState& operator=(const SharedState&) = delete;

  /// Makes outcome, value and error visible to the consumer, and tells the waiter.
  void complete(Outcome outcome) noexcept { Waiter::tell(complete_untold(outcome)); }

  [[nodiscard]] bool ready() const noexcept {
    // Acquire: pairs with complete's exchange.
    return waiter_.load(std::memory_order_acquire) == done();
  }
  /// Blocks until ready or the deadline; says whether ready. On a task's own thread it helps or
  /// throws NestedWaitError, see Executor.
  [[nodiscard]] bool wait_until(Clock::time_point deadline);

  /// Leaves a waiter; false, and nothing left, when the state is already complete.
  /// REQUIRES: there is none yet.
  [[nodiscard]] bool set_waiter(Waiter& waiter) noexcept;
  /// Takes the waiter back; false when it has been or is being fired.
  [[nodiscard]] bool clear_waiter(Waiter& waiter) noexcept;

  [[nodiscard]] Outcome outcome() const noexcept { return outcome_; }
  [[nodiscard]] TaskNode* node() const noexcept { return node_; }

  void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    // Acquire: the last one sees everything that the other did. A lone holder needs no
    // read-modify-write: nobody else can come.
    if (references_.load(std::memory_order_acquire) == 1 ||
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      destroy();
    }
  }

 protected:
  ~SharedState() = default;
  virtual void destroy() noexcept = 0;
  /// As complete, but leaves it to the caller to tell the waiter that it returns, if there is one.
  [[nodiscard]] Waiter* complete_untold(Outcome outcome) noexcept;

  std::exception_ptr error_;

 private:
  /// Stands in waiter_ for "complete".
  [[nodiscard]] static Waiter* done() noexcept;

  std::atomic<Waiter*> waiter_{nullptr};
  TaskNode* node_;
  std::atomic<std::uint32_t> references_{2};
  Outcome outcome_ = Outcome::kOk;
};

/// A shared state with room for the value.
template <typename T>
class StateOf : public SharedState {
 public:
  using SharedState::SharedState;
  using Value = typename Result<T>::Value;

  [[nodiscard]] Result<T> take() {
    if (outcome() == Outcome::kOk) return Result<T>(std::in_place, std::move(*value_));
    if (outcome() == Outcome::kFailed) return Result<T>(std::move(error_));
    return Result<T>(outcome(), std::move(error_));
  }

  /// Calls, keeps value or exception, and says which; does not complete.
  template <typename F, typename... Args>
  [[nodiscard]] Outcome keep(F&& callable, Args&&... args) noexcept {
    try {
      if constexpr (std::is_void_v<T>) {
        std::invoke(std::forward<F>(callable), std::forward<Args>(args)...);
        value_.emplace();
      } else {
        value_.emplace(std::invoke(std::forward<F>(callable), std::forward<Args>(args)...));
      }
      return Outcome::kOk;
    } catch (const Cancelled&) {
      return Outcome::kCancelled;
    } catch (...) {
      // Whatever the user throws, a std::exception or not, is the user's to see again at get.
      error_ = std::current_exception();
      return Outcome::kFailed;
    }
  }

  void keep_error(std::exception_ptr error) noexcept { error_ = std::move(error); }

 protected:
  ~StateOf() = default;

 private:
  std::optional<Value> value_;
};

/// The result of a task that may not have ended yet.
///
/// Thread-safety: externally synchronised; distinct futures are independent. Ownership: shares the
/// task's state with the executor; dropping a future lets the task run to its end unobserved. A
/// future may outlive its executor, whose destructor gives every task its outcome. Blocking: get
/// and the waits. Inside a task of the same executor they never block on the queue: a task that
/// still waits is run inline, and where that cannot be, NestedWaitError is thrown. Failure: get
/// rethrows what the task threw; every other outcome is a value of Result.
///
///     auto future = executor.submit([] { return 6 * 7; });
///     auto result = future.get();
///     if (result) std::cout << *result << '\n';
///     else std::cout << to_string(result.outcome()) << '\n';
template <typename T>
class [[nodiscard]] Future {
 public:
  Future() noexcept = default;
  /// Takes over one of the two references. Not for users.
  explicit Future(StateOf<T>* state) noexcept : state_(state) {}
  Future(Future&&) noexcept = default;
  Future& operator=(Future&&) noexcept = default;

  /// Whether there is a state behind it: not after get or then, nor for a default-made one.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }
  /// REQUIRES: valid(), as for all below.
  [[nodiscard]] bool ready() const noexcept { return state().ready(); }

  /// Blocks until ready or the deadline; says whether ready.
  [[nodiscard]] bool wait_until(Clock::time_point deadline) { return state().wait_until(deadline); }
  template <typename Rep, typename Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> duration) {
    return wait_until(Clock::now() + std::chrono::duration_cast<Clock::duration>(duration));
  }

  /// Blocks until ready, and takes the result. Rethrows the task's own exception. How long it may
  /// block is bounded by the task: by its deadline until it starts, and then by its run.
  /// ENSURES: !valid(), unless NestedWaitError was thrown.
  [[nodiscard]] Result<T> get() {
    (void)state().wait_until(Clock::time_point::max());
    Result<T> result = take();
    if (result.outcome() == Outcome::kFailed) std::rethrow_exception(result.error());
    return result;
  }

  /// Calls `callable` with the Result<T> once it is there, on the thread that completed the task,
  /// after its permit and stream have been given back; at once, on this thread, if it is there
  /// already. So a long or blocking continuation should submit a task instead. One allocation.
  /// The future returned ends as kOk with the callable's value, or as kFailed with what it threw.
  /// ENSURES: !valid().
  template <typename F>
  requires std::invocable<F, Result<T>>
  [[nodiscard]] Future<std::invoke_result_t<F, Result<T>>> then(F&& callable);

  /// `Result<T> result = co_await std::move(future);` resumes as then calls.
  [[nodiscard]] auto operator co_await() && noexcept;

  /// Takes the task back if it has not started, else asks it to leave. Thread-safe beside the task.
  /// A future made by then cannot be cancelled.
  CancelResult cancel() noexcept;

 private:
  struct Release {
    void operator()(StateOf<T>* state) const noexcept { state->release(); }
  };
  using Reference = std::unique_ptr<StateOf<T>, Release>;

  [[nodiscard]] StateOf<T>& state() const noexcept {
    assert(valid());
    return *state_;
  }
  [[nodiscard]] Result<T> take() {
    const Reference reference = std::move(state_);
    return reference->take();
  }

  template <typename U, typename F>
  class Continuation;
  class Awaiter;

  Reference state_;
};

/// Cancels the task behind a node: Future::cancel and stop_tokens end here. Not for users.
CancelResult cancel_task(TaskNode& node) noexcept;

// ---- templates ----

template <typename T>
template <typename U, typename F>
class Future<T>::Continuation final : public StateOf<U>, public Waiter {
 public:
  template <typename G>
  Continuation(Reference upstream, G&& callable)
      : StateOf<U>(nullptr), upstream_(std::move(upstream)), callable_(std::forward<G>(callable)) {}

  void start() noexcept {
    if (!upstream_->set_waiter(*this)) Waiter::tell(this);
  }

  Waiter* fire() noexcept override {
    // The upstream state ends here, not with this one: a long chain must not keep every link.
    Reference upstream = std::move(upstream_);
    Result<T> result = upstream->take();
    upstream.reset();
    const Outcome outcome = this->keep(std::move(*callable_), std::move(result));
    callable_.reset();
    // The next one, if any, shares this state, so it is still there after the release.
    Waiter* const next = this->complete_untold(outcome);
    this->release();
    return next;
  }

 protected:
  void destroy() noexcept override { delete this; }

 private:
  Reference upstream_;
  std::optional<F> callable_;
};

template <typename T>
template <typename F>
requires std::invocable<F, Result<T>> Future<std::invoke_result_t<F, Result<T>>> Future<T>::then(
    F&& callable) {
  using U = std::invoke_result_t<F, Result<T>>;
  assert(valid());
  auto* continuation =
      new Continuation<U, std::decay_t<F>>(std::move(state_), std::forward<F>(callable));
  Future<U> future(continuation);
  continuation->start();
  return future;
}

template <typename T>
class Future<T>::Awaiter final : public Waiter {
 public:
  explicit Awaiter(Reference state) noexcept : state_(std::move(state)) {}
  [[nodiscard]] bool await_ready() const noexcept { return state_->ready(); }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<> coroutine) noexcept {
    coroutine_ = coroutine;
    // Once the waiter is set, another thread may resume the coroutine and end this awaiter.
    return state_->set_waiter(*this);
  }
  [[nodiscard]] Result<T> await_resume() {
    const Reference state = std::move(state_);
    Result<T> result = state->take();
    if (result.outcome() == Outcome::kFailed) std::rethrow_exception(result.error());
    return result;
  }
  Waiter* fire() noexcept override {
    coroutine_.resume();
    return nullptr;
  }

 private:
  Reference state_;
  std::coroutine_handle<> coroutine_;
};

template <typename T>
auto Future<T>::operator co_await() && noexcept {
  assert(valid());
  return Awaiter(std::move(state_));
}

template <typename T>
CancelResult Future<T>::cancel() noexcept {
  TaskNode* const node = state().node();
  if (node == nullptr || ready()) return CancelResult::kTooLate;
  return cancel_task(*node);
}

}  // namespace streamgate::executor
