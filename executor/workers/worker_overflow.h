// SPDX-License-Identifier: Apache-2.0
//
// Overflow to worker processes: the policy that decides, the pool that runs, and the quarantine for
// calls that kill. How a task lives otherwise is the core's business.
#pragma once

#include <streamgate/executor/internal/overflow.h>
#include <streamgate/executor/workers/portable_call.h>
#include <streamgate/executor/workers/worker_pool.h>
#include <streamgate/policies/config.h>
#include <streamgate/policies/overflow_policy.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace streamgate::executor {

/// The way to a pool for those who may come after its end: late cancels of calls whose futures
/// outlive the executor.
///
/// Thread-safety: thread-safe. Ownership: refers to the pool until closed. Blocking: close waits
/// for cancels that are on their way through.
class WorkerDoor {
 public:
  explicit WorkerDoor(WorkerPool& pool) noexcept : pool_(&pool) {}
  void cancel(std::uint64_t number) noexcept;
  void close() noexcept;

 private:
  std::atomic<WorkerPool*> pool_;
  std::atomic<std::size_t> inside_{0};
};

/// Calls that have killed workers, by fingerprint.
///
/// Thread-safety: thread-safe; without an entry `find` is one load. Ownership: of its entries, of
/// which it keeps the latest. Blocking: never for long. Failure: none.
class Quarantine {
 public:
  struct Entry {
    std::size_t killed = 0;  ///< Workers.
    std::string operation{};
    std::string evidence{};  ///< Of the last of them.
  };
  /// Counts kills; returns how many there are by now.
  std::size_t add(std::uint64_t fingerprint, std::size_t killed, std::string_view operation,
                  const std::string& evidence);
  [[nodiscard]] std::size_t killed_by(const PortableCall& call) const noexcept;
  /// For Result::evidence.
  [[nodiscard]] std::string evidence_against(const PortableCall& call) const noexcept;
  [[nodiscard]] std::vector<Entry> entries() const;

 private:
  static constexpr std::size_t kMost = 1'024;
  std::atomic<bool> empty_{true};
  mutable std::mutex mutex_;
  std::list<std::uint64_t> order_;  ///< The oldest first.
  std::unordered_map<std::uint64_t, Entry> entries_;
};

/// See Overflow.
class WorkerOverflow final : public Overflow {
 public:
  /// `probed_gain`: see policies::OverflowPolicyOptions.
  WorkerOverflow(const policies::Config::Overflow& config, WorkerPoolOptions pool,
                 std::optional<double> probed_gain, OverflowHome& home);
  ~WorkerOverflow() override;

  Way judge(TaskNode& node, const HereNow& here) noexcept override;
  void send(TaskNode& node) noexcept override;
  void ran_here(const TaskNode& node, Clock::time_point now, std::chrono::nanoseconds service,
                bool full) noexcept override;
  void stop() noexcept override;
  void apply(const policies::Config::Overflow& config) override;
  void add_to(Snapshot& snapshot) const override;

  void ended(PortableCall& call, CallEnd end) noexcept;
  [[nodiscard]] WorkerPool& pool() noexcept { return pool_; }

 private:
  [[nodiscard]] Way count(policies::OverflowReason reason, Way way) noexcept;
  void observe(const policies::OverflowObservation& observation) noexcept;
  [[nodiscard]] std::size_t workers_busy() const noexcept;

  OverflowHome& home_;
  const std::optional<double> probed_gain_;
  std::atomic<std::size_t> attempts_;
  std::atomic<std::size_t> quarantine_after_;
  std::atomic<bool> stopping_{false};
  Quarantine quarantine_;

  mutable std::mutex policy_mutex_;
  std::string policy_name_;
  std::unique_ptr<policies::OverflowPolicy> policy_;
  std::atomic<bool> wants_observations_;

  std::atomic<std::size_t> away_{0};     ///< Calls with the pool.
  std::atomic<std::size_t> workers_{0};  ///< Ready ones, when last looked at.
  std::array<std::atomic<std::uint64_t>, policies::kOverflowReasons> reasons_{};
  std::array<std::atomic<std::uint64_t>, kOutcomes> outcomes_{};
  std::atomic<std::uint64_t> returned_{0};

  WorkerPool pool_;  // Its threads use all of the above.
  std::shared_ptr<WorkerDoor> door_;
};

}  // namespace streamgate::executor
