// SPDX-License-Identifier: Apache-2.0
//
// The lives of worker processes: starting, the handshake, death, the kill ladder, and when to start
// again. Calls, and how many workers there should be, are the pool's.
#pragma once

#include <streamgate/executor/workers/restart_policy.h>
#include <streamgate/executor/workers/worker.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace streamgate::executor {

struct SupervisorOptions {
  std::string program{};  ///< An absolute path; see worker_program.h for who names it.
  std::vector<std::string> arguments{"worker"};  ///< Before those that name the links.
  std::vector<std::pair<std::string, std::string>> environment{};
  ChannelOptions channel{};
  std::size_t intra_op_threads = 1;
  std::string identity{};                           ///< That a worker must have, too; empty: any.
  std::string configuration{};                      ///< For CallRunner::prepare.
  std::chrono::milliseconds start_within{10'000};   ///< From start to the first word.
  std::chrono::milliseconds ready_within{120'000};  ///< From there to ready: models are loaded.
  std::chrono::milliseconds term_grace{500};        ///< From asking to TERM, and from TERM to KILL.
  RestartOptions restart{};
};

/// Told what becomes of workers. Calls for one worker come from one thread, in the order below.
/// None may throw, block for long, or destroy the supervisor.
class WorkerListener {
 public:
  virtual void on_ready(const std::shared_ptr<Worker>& worker) noexcept = 0;
  virtual void on_message(const std::shared_ptr<Worker>& worker,
                          const ChannelMessage& message) noexcept = 0;
  /// Exactly once for each worker that was ready, after its last message, with its process gone.
  virtual void on_end(const std::shared_ptr<Worker>& worker, const WorkerEnd& end) noexcept = 0;
  /// On the supervisor's thread, now and then, and at the latest when the last one said.
  virtual std::chrono::steady_clock::time_point on_tick(
      std::chrono::steady_clock::time_point now) noexcept = 0;

 protected:
  ~WorkerListener() = default;
};

/// One permanent thread that starts, watches and ends worker processes, and a thread for each
/// worker that listens to its channel.
///
/// Thread-safety: thread-safe. Ownership: of processes, channels and threads; the listener outlives
/// it. Blocking: the destructor ends all workers, at most two term_graces each, all at once;
/// nothing else waits. Failure: the constructor throws std::system_error; a worker that cannot be
/// started counts as one that died, and last_failure says why.
///
///     Supervisor supervisor({.program = "/usr/bin/streamgate"}, listener);
///     supervisor.want(4);   // on_ready comes four times
///     supervisor.end(worker, WorkerExit::kHung, "no progress in 30 s");
///
/// A worker is ended in steps: those that nothing is wrong with see their channel close, then TERM,
/// then KILL; hung ones begin with TERM; what wrote nonsense is killed at once.
class Supervisor {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Supervisor(SupervisorOptions options, WorkerListener& listener);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /// Ends every worker and both kinds of threads. Nothing is told to the listener afterwards. A
  /// second call does nothing.
  void stop() noexcept;

  /// How many workers there should be; fewer than there are ends none.
  void want(std::size_t workers) noexcept;
  /// Begins to end a worker; the first cause stays.
  void end(const std::shared_ptr<Worker>& worker, WorkerExit cause, std::string why) noexcept;
  /// A worker has answered: what was wrong with starting them is over.
  void served() noexcept;
  /// on_tick is due at this time.
  void wake_at(TimePoint time) noexcept;

  /// Workers that are not ending, starting ones included.
  [[nodiscard]] std::size_t alive() const;
  /// Whether there are none, and none will be started for now, because too many died.
  [[nodiscard]] bool is_out_of_service() const;
  /// The evidence of the last worker that died or could not be started; empty: none.
  [[nodiscard]] std::string last_failure() const;
  /// States but idle and busy (ready workers count as idle), starts, exits, memory and bytes.
  void add_to(WorkersSnapshot& snapshot) const;

 private:
  using Lock = std::unique_lock<std::mutex>;
  void run() noexcept;
  void start_wanted(TimePoint now) noexcept;
  void start(TimePoint now);
  [[nodiscard]] std::vector<std::shared_ptr<Worker>> workers() const;
  void reap(Worker& worker, TimePoint now) noexcept;
  void look_at_memory(Worker& worker, TimePoint now);
  /// The next step of the ladder, if it is due; returns when the one after it is.
  [[nodiscard]] TimePoint climb(Worker& worker, TimePoint now) noexcept;
  void join_listened_out() noexcept;
  [[nodiscard]] TimePoint next_start(TimePoint now) const;
  void wait(TimePoint until) noexcept;
  void wake() noexcept;

  void listen(const std::shared_ptr<Worker>& worker) noexcept;
  /// Empty: the worker is ready.
  [[nodiscard]] std::string shake_hands(Worker& worker);
  void count_end(const Worker& worker, TimePoint now);

  const SupervisorOptions options_;
  WorkerListener& listener_;
  Descriptor wake_;
  std::atomic<std::int64_t> planned_wake_;  ///< Steady nanoseconds.

  mutable std::mutex mutex_;  // After the pool's, if both are held.
  std::condition_variable ended_;
  std::vector<std::shared_ptr<Worker>> workers_;
  std::size_t wanted_ = 0;
  bool stopping_ = false;
  RestartPolicy restart_;
  std::string last_failure_;
  std::uint64_t starts_ = 0;
  std::array<std::uint64_t, kAllWorkerExits.size()> exits_{};
  DurationHistogram start_time_;
  std::uint64_t bytes_sent_ = 0;      ///< Of workers that are gone.
  std::uint64_t bytes_received_ = 0;  ///< Of workers that are gone.

  std::thread thread_;
};

}  // namespace streamgate::executor
