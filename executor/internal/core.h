// SPDX-License-Identifier: Apache-2.0
//
// What stands behind an Executor: it joins gate, queue, streams, arena and backend into the one way
// that every task takes. Each of those is a part of its own; here is only what happens between
// them.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/classifier.h>
#include <streamgate/executor/drain.h>
#include <streamgate/executor/future.h>
#include <streamgate/executor/gate.h>
#include <streamgate/executor/internal/admission_queue.h>
#include <streamgate/executor/internal/arena.h>
#include <streamgate/executor/internal/deadline_timer.h>
#include <streamgate/executor/internal/limit_control.h>
#include <streamgate/executor/internal/measured_limits.h>
#include <streamgate/executor/internal/overflow.h>
#include <streamgate/executor/internal/recorder.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/stream_pool.h>
#include <streamgate/executor/task.h>
#include <streamgate/policies/config.h>
#include <streamgate/policies/limit_policy.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

namespace streamgate::executor {

class CallerNode;

/// Counts the threads that are inside an executor's functions, so that its end can wait for them.
/// Striped, as every call passes here. Those who came when it had closed are counted apart: they
/// only hear that, and a drain need not wait until nobody asks any more.
class Visitors {
 public:
  enum class Came : std::uint8_t { kOpen, kClosed };

  class Visit {
   public:
    explicit Visit(Visitors& visitors, Came came = Came::kOpen) noexcept
        : count_(visitors.mine(came)) {
      // Sequentially consistent, as is the look of none(): either it counts this visitor, or the
      // visitor finds closed what was closed before that look.
      count_.fetch_add(1, std::memory_order_seq_cst);
    }
    // Release: pairs with none(); the visitor touches nothing afterwards.
    ~Visit() { count_.fetch_sub(1, std::memory_order_release); }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    std::atomic<std::size_t>& count_;
  };

  [[nodiscard]] bool none(Came came) const noexcept;

 private:
  static constexpr std::size_t kStripes = 16;
  struct alignas(64) Stripe {
    std::array<std::atomic<std::size_t>, 2> counts{};  ///< By Came.
  };
  [[nodiscard]] std::atomic<std::size_t>& mine(Came came) noexcept;
  std::array<Stripe, kStripes> stripes_;
};

/// The way of a task: submit or run -> admit -> execute -> finish.
///
/// A waiting task is never overlooked: whoever makes something startable (a submission, a permit
/// or a lease given back, a raised limit) does so with sequentially consistent operations first and
/// looks for waiting tasks, or calls the arena, afterwards; whoever finds nothing startable has
/// announced its task before. So at least one of the two sees the other.
///
/// Lock order: drain_mutex_, then the queue's mutex; every other mutex is taken with no other held.
class Core final : public WorkSource, private OverflowHome {
 public:
  using PolicyFactory = std::function<std::unique_ptr<policies::LimitPolicy>(
      policies::OpClass, const policies::LimitPolicyOptions&)>;

  /// REQUIRES: the backend is initialised; the config has no automatic value left.
  Core(policies::Config config, std::unique_ptr<Backend> backend, const GateOptions& gate,
       MeasuredLimits measured, std::unique_ptr<Classifier> classifier, PolicyFactory make_policy);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Gives calls another way. Once, before the first task. The maker is given where they come back.
  void open_overflow(const std::function<std::unique_ptr<Overflow>(OverflowHome&)>& make) {
    overflow_ = make(*this);
  }

  /// Null without.
  [[nodiscard]] Overflow* overflow() const noexcept { return overflow_.get(); }

  /// What a task without an explicit class is treated as.
  [[nodiscard]] policies::OpClassSet classify(
      const std::optional<policies::OpClassSet>& explicit_class) const noexcept {
    return explicit_class ? *explicit_class : default_class_;
  }

  /// Takes over a task of Door::kSubmit; it ends in one outcome.
  void submit(TaskNode& node, const std::stop_token& stop) noexcept;
  /// Runs a task of Door::kRun on this thread, at once or in its turn, and returns when it has
  /// ended. Throws NestedWaitError.
  [[nodiscard]] Outcome run(CallerNode& node, const std::stop_token& stop);

  /// Future's waits, on a thread that is running `current`: makes `target` progress by running it
  /// here, or returns false where it runs elsewhere and waiting for it is safe. Throws
  /// NestedWaitError where it is not. After false, end_nested_wait must follow the wait.
  [[nodiscard]] static bool help_or_prepare_wait(TaskNode& current, TaskNode& target);
  static void end_nested_wait(TaskNode& current) noexcept;

  /// The task that the calling thread is running, or null.
  [[nodiscard]] static TaskNode* current_task() noexcept;

  [[nodiscard]] static CancelResult cancel(TaskNode& node) noexcept;
  void stream_done(TaskNode& node) noexcept;

  [[nodiscard]] DrainReport drain(Drain mode, Clock::time_point deadline);

  /// Applies the live keys; returns the changed keys that wait for a restart.
  std::vector<std::string_view> apply(const policies::Config& config);
  void count_reload(std::size_t keys_for_restart) noexcept {
    reloads_applied_.fetch_add(1, std::memory_order_relaxed);
    keys_for_restart_.store(keys_for_restart, std::memory_order_relaxed);
    last_reload_failed_.store(false, std::memory_order_relaxed);
  }
  void count_failed_reload() noexcept {
    reloads_failed_.fetch_add(1, std::memory_order_relaxed);
    last_reload_failed_.store(true, std::memory_order_relaxed);
  }
  std::size_t set_limit(policies::OpClass op_class, std::size_t limit) noexcept;
  [[nodiscard]] policies::Config config() const;

  [[nodiscard]] Snapshot snapshot() const;
  [[nodiscard]] const Backend& backend() const noexcept { return *backend_; }
  [[nodiscard]] const MeasuredLimits& measured() const noexcept { return measured_; }
  [[nodiscard]] const Classifier& classifier() const noexcept { return *classifier_; }

  void work() noexcept override;

 private:
  static constexpr Clock::time_point kNever = Clock::time_point::max();

  void came_back(TaskNode& node, Outcome outcome) noexcept override;
  void not_taken(TaskNode& node) noexcept override;

  struct Admitted {
    TaskNode* node = nullptr;
    bool more = false;  ///< Another waiting task of the arena's could start now.
    bool kept = false;  ///< The node took over the predecessor's permit and lease.
  };
  /// kWorkerBack: a worker that took a task before, and is done with it.
  enum class Taker : std::uint8_t { kWorker, kWorkerBack, kOutside };

  void end_without_run(TaskNode& node, Outcome outcome) noexcept;
  void end_all(NodeChain& chain, Outcome outcome) noexcept;
  void discard(NodeChain& chain) noexcept;

  [[nodiscard]] std::optional<Outcome> turn_away(TaskNode& node,
                                                 const std::stop_token& stop) noexcept;
  [[nodiscard]] std::optional<Outcome> enqueue(TaskNode& node,
                                               const std::stop_token& stop) noexcept;
  /// `inside`: it is waited for in a task of this executor, whose permit it may be waiting for.
  [[nodiscard]] Way way_of(TaskNode& node, bool inside) noexcept;
  [[nodiscard]] std::optional<Outcome> send_away(TaskNode& node,
                                                 const std::stop_token& stop) noexcept;
  [[nodiscard]] TaskNode* take_untold() noexcept;
  void tell(TaskNode& untold) noexcept;
  [[nodiscard]] std::optional<Outcome> make_room(const TaskNode& node) noexcept;
  void sort_inbox() noexcept;
  /// `ended`: a task of this worker's whose permit and lease are still to be given back, or null.
  [[nodiscard]] Admitted admit(Taker taker, const TaskNode* ended = nullptr) noexcept;
  [[nodiscard]] TaskNode* take_over(const TaskNode& ended) noexcept;
  void dispatch() noexcept;
  void after_release() noexcept {
    if (queue_.tasks() != 0) dispatch();
  }
  [[nodiscard]] bool may_overtake(std::size_t lane, bool on_own_stream) const noexcept;
  [[nodiscard]] unsigned blocked_with(std::size_t lane, Gate::Refusal refusal) const noexcept;

  [[nodiscard]] Progress execute(TaskNode& node, Backend::Thread thread,
                                 Clock::time_point now) noexcept;
  [[nodiscard]] Outcome invoke(TaskNode& node, Backend::Thread thread) noexcept;
  [[nodiscard]] Outcome call(TaskNode& node, TaskContext& context) const noexcept;
  void judge(TaskNode& node) const noexcept;
  [[nodiscard]] Clock::time_point settle(TaskNode& node) noexcept;
  void publish(TaskNode& node) noexcept { Waiter::tell(publish_untold(node)); }
  [[nodiscard]] static Waiter* publish_untold(TaskNode& node) noexcept;
  void step_aside(TaskNode* next) noexcept;
  [[nodiscard]] Visitors::Came came() const noexcept {
    return gate_.closed() ? Visitors::Came::kClosed : Visitors::Came::kOpen;
  }
  void give_back(const TaskNode& node) noexcept;
  void observe(const TaskNode& node, std::chrono::nanoseconds wait, std::chrono::nanoseconds run,
               Clock::time_point now) noexcept;
  [[nodiscard]] Outcome run_nested(TaskNode& node, TaskNode& outer) noexcept;
  [[nodiscard]] bool try_admit_caller(CallerNode& node) noexcept;
  [[nodiscard]] StreamPool::Caller lessee(const TaskNode& node) const noexcept;

  [[nodiscard]] Clock::time_point expire(Clock::time_point now) noexcept;
  void note_progress() noexcept;
  void cancel_queued() noexcept;

  [[nodiscard]] std::array<std::unique_ptr<policies::LimitPolicy>, policies::kOpClasses>
  changed_policies(const policies::Config& present, const policies::Config& wanted) const;
  [[nodiscard]] std::unique_ptr<policies::LimitPolicy> new_policy(
      policies::OpClass op_class, const policies::GateConfig& gate) const;

  std::unique_ptr<Backend> backend_;
  const MeasuredLimits measured_;
  const std::unique_ptr<Classifier> classifier_;
  const policies::OpClassSet default_class_;
  const std::thread::id constructor_;
  std::atomic<policies::WhenFull> when_full_;

  Gate gate_;
  AdmissionQueue queue_;
  StreamPool streams_;
  Recorder recorder_;
  Visitors visitors_;
  /// Workers that run a task or its continuation. Belongs to the queue's lock.
  std::size_t workers_with_task_ = 0;

  PolicyFactory make_policy_;
  LimitControl limits_;

  mutable std::mutex config_mutex_;
  policies::Config config_;
  std::size_t intra_op_threads_;
  std::size_t cores_to_split_;  ///< 0: the threads within a task stay as they are.
  std::atomic<std::uint64_t> reloads_applied_{0};
  std::atomic<std::uint64_t> reloads_failed_{0};
  std::atomic<std::size_t> keys_for_restart_{0};
  std::atomic<bool> last_reload_failed_{false};

  std::unique_ptr<Overflow> overflow_;  ///< Null without.
  std::atomic<std::size_t> away_{0};    ///< Calls that were sent and not told of yet.
  std::mutex untold_mutex_;
  NodeChain untold_;  ///< Calls that came back and have continuations, for the arena.
  std::atomic<std::size_t> untold_count_{0};

  std::atomic<bool> draining_{false};
  std::atomic<bool> cancel_all_{false};
  std::mutex drain_mutex_;
  std::condition_variable drained_;

  std::unique_ptr<Arena> arena_;
  std::unique_ptr<DeadlineTimer> timer_;
};

}  // namespace streamgate::executor
