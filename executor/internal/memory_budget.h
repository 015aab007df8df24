// SPDX-License-Identifier: Apache-2.0
//
// The memory that running tasks may hold together, beside the gate's permits: a task that says what
// it needs, or of which that is known, reserves it from admission to its end. It counts bytes; who
// waits for them, and who may go ahead, is the business of internal/core.h.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/executor/task.h>
#include <streamgate/policies/config.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace streamgate::executor {

/// One device's memory for tasks.
///
/// Thread-safety: thread-safe and lock-free. Ownership: of nothing; the backend must outlive it.
/// Blocking: only look, for as long as the backend takes to say how its memory stands, and for one
/// thread at a time. Failure: try_reserve says no. Where a backend knows nothing of its memory,
/// only memory.budget_bytes bounds, and without it nothing does.
///
///     budget.look(now);
///     if (budget.is_too_large(node)) return Outcome::kTooLarge;
///     if (budget.try_reserve(node)) run(node), budget.give_back(node);
///
/// What may be reserved is found anew at every look: what is free, less the headroom, and with what
/// tasks already hold of their reservations, which is no longer free but paid for. That is taken to
/// be what this process has grown by since it last ran none of them.
class MemoryBudget {
 public:
  /// How many tasks may go ahead of one for which memory is short; then its turn has come, and what
  /// is given back is kept for it.
  static constexpr std::uint8_t kOvertakes = 32;
  /// How long what was seen of the device holds.
  static constexpr std::chrono::milliseconds kLookEvery{20};

  MemoryBudget(Backend& backend, const policies::Config::Memory& config) noexcept;

  /// From now on. Whoever waits is to be looked at afterwards.
  void apply(const policies::Config::Memory& config) noexcept;

  /// Looks at the device, unless somebody did or does at about `now`.
  void look(Clock::time_point now) noexcept;
  /// Whether looking again may find more.
  [[nodiscard]] bool moves() const noexcept { return moves_.load(std::memory_order_relaxed); }

  /// Whether the task says that it needs more than all there is.
  [[nodiscard]] bool is_too_large(const TaskNode& node) const noexcept;
  /// Whether try_reserve would succeed at this moment.
  [[nodiscard]] bool fits(const TaskNode& node) const noexcept;
  /// REQUIRES: the caller may write to the task.
  [[nodiscard]] bool try_reserve(TaskNode& node) noexcept;
  /// REQUIRES: reserved, and not given back since.
  void give_back(const TaskNode& node) noexcept;

  /// Around the work of a task with a reservation that learns: begins to measure if this run is one
  /// to measure; and takes the result as the task's need, if it ended well.
  void begins(TaskNode& node) noexcept;
  void ends(TaskNode& node, Outcome outcome) noexcept;

  /// A task for which memory is short was overtaken. REQUIRES: the queue's lock.
  void overtaken(TaskNode& node) noexcept;
  [[nodiscard]] static bool is_due(const TaskNode& node) noexcept {
    return node.memory_overtaken >= kOvertakes;
  }

  void add_to(Snapshot& snapshot) const noexcept;

 private:
  /// `learned`: a guess of ours, which may be wrong, and not the task's own word.
  struct Need {
    std::size_t bytes;
    bool learned;
  };
  [[nodiscard]] Need need(const TaskNode& node) const noexcept;
  [[nodiscard]] bool allows(Need need, std::size_t reserved) const noexcept;
  void judge(const std::optional<DeviceMemory>& memory, std::size_t reserved) noexcept;

  Backend& backend_;
  std::atomic<std::size_t> budget_;
  std::atomic<std::size_t> headroom_;

  alignas(64) std::atomic<std::size_t> reserved_{0};
  std::atomic<std::size_t> room_{0};   ///< What may be reserved, as of the last look.
  std::atomic<std::size_t> whole_{0};  ///< What could be at best.
  std::atomic<std::uint64_t> overtakes_{0};
  std::atomic<std::uint64_t> measured_{0};
  std::atomic<std::uint64_t> exceeded_{0};

  std::atomic<bool> moves_{false};
  std::atomic<bool> looking_{false};
  std::atomic<Clock::time_point> looked_{Clock::time_point::min()};
  std::atomic<std::size_t> free_{0};
  std::atomic<std::size_t> at_rest_{0};  ///< Held by this process when no task had reserved any.
};

}  // namespace streamgate::executor
