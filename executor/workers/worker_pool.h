// SPDX-License-Identifier: Apache-2.0
//
// Calls and the workers that run them: who gets which, what becomes of a call whose worker dies,
// and how many workers there should be. It knows no operations: a call writes its own request and
// reads its own response.
#pragma once

#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/workers/supervisor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace streamgate::executor {

enum class CallResult : std::uint8_t {
  kDone,
  kFailed,      ///< The operation threw, in the worker; or the request could not be written.
  kCancelled,   ///< See WorkerPool::cancel, or the pool was stopped.
  kExpired,     ///< No worker began it by its time, or it passed its time to run.
  kWorkerDied,  ///< A worker had begun it and died, or was killed because nothing moved.
  kRefused,     ///< Nothing was begun: full, stopped, or no worker can be had.
};

/// How a call ended. Block and channel are for kDone, and valid as said there.
struct CallEnd {
  CallResult result = CallResult::kDone;
  /// To map what the response names; until complete() returns. Blocks may live on.
  Channel* channel = nullptr;
  Block response{};
  /// What the operation said, the evidence of the worker's end, or why it was refused.
  std::string text{};
  bool begun = false;       ///< Whether a worker may have done any of it.
  bool first_runs = false;  ///< Of kDone: as RunningCall::first_runs.
  /// Of the worker, with kWorkerDied.
  WorkerExit cause = WorkerExit::kStopped;
  int signal = 0;
};

struct WorkerCallOptions {
  std::chrono::steady_clock::time_point start_by = std::chrono::steady_clock::time_point::max();
  std::chrono::nanoseconds run_for{0};  ///< From being sent to a worker; 0: the pool's.
  std::size_t attempts = 1;             ///< Times that it may be begun: 1, unless it is idempotent.
  std::uint64_t prefer_worker = 0;      ///< The one whose memory its input lies in; 0: any.
  bool attended = false;  ///< The thread that submits it goes on to WorkerPool::attend.
};

/// A call for a worker, as whoever makes it sees it.
///
/// Thread-safety: the pool calls one function at a time, on any thread. Ownership: the caller's; it
/// must live until complete() is called, which is the last that the pool does with it. Blocking:
/// both should be short; complete delays other calls of its worker, and other workers' deaths.
/// Failure: encode throws; ChannelError means that this worker is gone, and the call goes to
/// another; anything else fails the call.
class WorkerCall {
 public:
  WorkerCall() = default;
  virtual ~WorkerCall() = default;
  WorkerCall(const WorkerCall&) = delete;
  WorkerCall& operator=(const WorkerCall&) = delete;

  /// Writes the request into this worker's memory and lends it. Again for every worker tried.
  [[nodiscard]] virtual BlockReference encode(Channel& to_worker) = 0;
  /// One of these after each encode that returned. The request is on its way, and the worker gives
  /// back what was lent; or it is not, and what was lent is to be taken back. May not block.
  virtual void sent() noexcept = 0;
  virtual void not_sent(Channel& to_worker) noexcept = 0;
  /// Exactly once, perhaps before submit has returned.
  virtual void complete(CallEnd end) noexcept = 0;

 private:
  friend class WorkerPool;
  std::uint64_t number_ = 0;
  WorkerCallOptions options_{};
  std::size_t begun_ = 0;
  std::size_t requeued_ = 0;
  std::shared_ptr<Worker> attended_{};  ///< The submitting thread's: whose answer it stays for.
};

struct WorkerPoolOptions {
  SupervisorOptions supervisor{};
  std::size_t min_workers = 1;  ///< Kept ready, whatever there is to do.
  std::size_t max_workers = 1;
  std::size_t max_queued = 1'024;
  std::chrono::milliseconds run_for{0};           ///< Of a call; 0: only hang_after.
  std::chrono::milliseconds hang_after{60'000};   ///< Without progress; found within twice this.
  std::chrono::milliseconds cancel_grace{1'000};  ///< To leave a call before the worker is killed.
  std::chrono::milliseconds idle_after{60'000};   ///< Workers beyond the minimum end then.
  std::uint64_t recycle_calls = 0;                ///< 0: never for their number.
  std::size_t recycle_growth = std::size_t{1} << 30;  ///< In bytes since it was ready; 0: never.
};

/// How busy a pool is, for the overflow policy.
struct WorkerLoad {
  std::size_t ready = 0;  ///< Workers that take calls, busy ones included.
  std::size_t idle = 0;
  std::size_t queued = 0;
};

/// Worker processes and the calls for them.
///
/// Thread-safety: thread-safe. Ownership: of workers and threads; of no call. Blocking: submit
/// writes the request if a worker is idle, which copies its bytes; the destructor ends workers;
/// nothing else waits. Failure: outcomes are values, in CallEnd; the constructor throws
/// std::system_error.
///
///     WorkerPool pool({.supervisor = {.program = path}, .min_workers = 2, .max_workers = 4});
///     const std::uint64_t number = pool.submit(call, {.run_for = 2s});
///     pool.cancel(number);   // call.complete is called all the same, once
///
/// A worker that dies before it has begun its call costs that call nothing: it goes to another.
/// From the moment the worker has said, in memory that outlives it, that it begins, the call is
/// not begun again, unless it may (attempts). Idle workers are taken last in, first out, so that
/// the same few stay warm and the others shrink away.
class WorkerPool final : private WorkerListener {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit WorkerPool(WorkerPoolOptions options);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Returns the call's number, for cancel. What is completed by then needs none.
  std::uint64_t submit(WorkerCall& call, const WorkerCallOptions& options);
  /// Waits on this thread for the answer of the worker that has the call, if one had it at once,
  /// and completes it: one thread less to wake. It may be completed otherwise, before or after.
  /// REQUIRES: this thread has just submitted it as `attended`, and it has not been destroyed.
  void attend(WorkerCall& call) noexcept;
  /// Asks a call to end: at once while it waits, and by killing its worker if it has begun and does
  /// not leave in time. False: it has ended, or is about to.
  bool cancel(std::uint64_t number);
  /// Refuses new calls, cancels the others and ends the workers. A second call does nothing.
  void stop() noexcept;

  /// Memory of a worker's channel, for an input that is built in place; nothing while no worker is
  /// ready or none has room. A call on it should prefer that worker, and is copied for any other.
  struct SharedBlock {
    Block block{};
    std::uint64_t worker = 0;
  };
  [[nodiscard]] std::optional<SharedBlock> allocate(std::size_t bytes);

  [[nodiscard]] WorkerLoad load() const;
  [[nodiscard]] WorkersSnapshot snapshot() const;
  /// The evidence of the last worker that died or could not be started; empty: none.
  [[nodiscard]] std::string last_failure() const { return supervisor_.last_failure(); }

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Ended {
    WorkerCall* call;
    CallEnd end;
  };
  using EndedCalls = std::vector<Ended>;
  static void complete(EndedCalls& ended) noexcept;

  void on_ready(const std::shared_ptr<Worker>& worker) noexcept override;
  void on_message(const std::shared_ptr<Worker>& worker,
                  const ChannelMessage& message) noexcept override;
  void on_end(const std::shared_ptr<Worker>& worker, const WorkerEnd& end) noexcept override;
  TimePoint on_tick(TimePoint now) noexcept override;

  // Functions with a lock want the pool's mutex held.
  void assign(const Lock& lock, Worker& worker, WorkerCall& call);
  /// The next waiting call; those whose time is over go to `ended`.
  [[nodiscard]] WorkerCall* take_queued(const Lock& lock, TimePoint now, EndedCalls& ended);
  /// Makes it idle, or gives it the next call, which is to be dispatched then.
  [[nodiscard]] bool release(const Lock& lock, const std::shared_ptr<Worker>& worker,
                             EndedCalls& ended);
  void requeue(const Lock& lock, WorkerCall& call, EndedCalls& ended);
  /// Asks a worker to leave its call.
  void leave(const Lock& lock, Worker& worker, Worker::Leave why, TimePoint now);
  [[nodiscard]] TimePoint look_at(const Lock& lock, const std::shared_ptr<Worker>& worker,
                                  TimePoint now);
  void settle(const Lock& lock, Worker& worker, const WorkerEnd& end, EndedCalls& ended);
  [[nodiscard]] bool is_worn_out(const Worker& worker) const noexcept;
  void update_wanted(const Lock& lock) noexcept;

  /// Writes and sends the call that was assigned, and the next ones if that fails. Says whether
  /// `attended`, the one for whose answer this thread stays, was sent.
  bool dispatch(const std::shared_ptr<Worker>& worker,
                const WorkerCall* attended = nullptr) noexcept;
  /// Brings waiting calls and idle workers together.
  void pump() noexcept;

  const WorkerPoolOptions options_;
  mutable std::mutex mutex_;
  std::deque<WorkerCall*> queue_;
  std::vector<std::shared_ptr<Worker>> workers_;  ///< Ready ones.
  std::vector<std::shared_ptr<Worker>> idle_;     ///< The last is taken first.
  std::uint64_t last_number_ = 0;
  std::uint64_t calls_started_ = 0;
  std::uint64_t calls_requeued_ = 0;
  std::uint64_t calls_retried_ = 0;
  bool stopped_ = false;

  Supervisor supervisor_;  // Last: its threads use all of the above.
};

}  // namespace streamgate::executor
