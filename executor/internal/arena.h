// SPDX-License-Identifier: Apache-2.0
//
// The TBB arena whose workers run submitted tasks. It brings workers to the work and lets them go;
// which task is next, and whether there is one, the work source decides.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_scheduler_observer.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace streamgate::executor {

/// Where a worker gets its work.
class WorkSource {
 public:
  /// Does tasks until none may start. Called on workers, concurrently.
  virtual void work() noexcept = 0;

 protected:
  ~WorkSource() = default;
};

/// Brings up to `threads` workers to the work source.
///
/// A worker is called by a *ticket*: a TBB task that works until the source has nothing that may
/// start, and then ends. TBB keeps no order among its tasks and has no bound; so a ticket stands
/// for no task in particular, and there are never more of them than workers.
///
/// Thread-safety: thread-safe. Blocking: only stop. Failure: none after construction.
///
/// The state word holds the number of tickets, how many of them linger, and two flags. A ticket
/// that finds nothing lingers for some microseconds before it ends, since calling a new one costs
/// TBB about half a microsecond and perhaps a wake-up. `again` says that work was made startable
/// while every ticket was out or one lingered: a ticket that finds nothing must look once more
/// before it ends. So nothing that was made startable before a call to call() is overlooked.
class Arena {
 public:
  /// REQUIRES: threads >= 1. Raises TBB's process-wide limit on threads where that is in the way.
  Arena(std::size_t threads, Backend& backend, WorkSource& source);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Makes sure that a worker looks at the source after this call has begun. True when a worker was
  /// free for that; false when all are at work and one of them will look when it is done.
  bool call() noexcept;

  /// Whether all tickets are out, so that call() would not bring another worker.
  [[nodiscard]] bool all_called() const noexcept { return tickets() == threads_; }
  [[nodiscard]] std::size_t tickets() const noexcept {
    return state_.load(std::memory_order_seq_cst) & kTickets;
  }
  [[nodiscard]] std::size_t threads() const noexcept { return threads_; }
  [[nodiscard]] bool raised_global_limit() const noexcept { return raised_global_limit_; }

  /// Waits until no ticket is out; false when the deadline came first. REQUIRES: the source has
  /// nothing left and gets nothing more.
  [[nodiscard]] bool wait_idle(std::chrono::steady_clock::time_point deadline);

 private:
  static constexpr std::uint32_t kTickets = 0xfff;
  static constexpr std::uint32_t kOneLingers = 0x1000;
  static constexpr std::uint32_t kLingering = 0xfff000;
  static constexpr std::uint32_t kAgain = 1U << 24U;
  static constexpr std::uint32_t kStopping = 1U << 25U;

  /// Binds TBB's workers to the backend while they are in the arena.
  class Binder;
  /// The TBB task of one ticket.
  struct Ticket;

  void serve() noexcept;
  [[nodiscard]] bool linger() noexcept;

  std::size_t threads_;
  WorkSource& source_;
  bool raised_global_limit_ = false;
  alignas(64) std::atomic<std::uint32_t> state_{0};
  std::mutex mutex_;
  std::condition_variable left_;
  std::size_t waiting_ = 0;  ///< Threads in wait_idle; belongs to mutex_.
  oneapi::tbb::task_arena arena_;
  std::unique_ptr<Binder> binder_;
};

}  // namespace streamgate::executor
