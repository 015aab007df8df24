// SPDX-License-Identifier: Apache-2.0
//
// The limit policies of an executor's gates: feeds them what tasks came to, and puts what they ask
// for into force, or only on record. What they decide is policies/limit_policy.h's business.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/gate.h>
#include <streamgate/executor/internal/observation_ring.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/policies/limit_policy.h>
#include <streamgate/policies/op_class.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>

namespace streamgate::executor {

/// One gate's limit policies by op class.
///
/// Thread-safety: thread-safe. Ownership: of the policies; gate and backend must outlive it.
/// Blocking: observe never waits: a thread that finds a policy in another's hands leaves its
/// observation for that one or the next. install and add_to wait for at most one batch of
/// observations. Failure: when observations come faster than a policy takes them, it is told how
/// many it missed.
///
///     LimitControl control(gate, backend);
///     auto policy = policies::make_limit_policy({.name = "knee", .initial = 2, .ceiling = 8});
///     control.install(OpClass::kRaw, policy, policies::LimitMode::kEnforced);
///     if (control.observe(OpClass::kRaw, seen) == LimitControl::Moved::kUp) admit_waiting_tasks();
class LimitControl {
 public:
  enum class Moved : std::uint8_t { kNo, kUp };

  LimitControl(Gate& gate, Backend& backend) noexcept : gate_(gate), backend_(backend) {}

  /// Puts a policy in charge, and its initial limit into force. Leaves the one that was there
  /// before in `policy`, for the caller to destroy without a lock. In shadow, the limit that is in
  /// force after this stays.
  void install(policies::OpClass op_class, std::unique_ptr<policies::LimitPolicy>& policy,
               policies::LimitMode mode);

  /// Whether observe does anything for the class.
  [[nodiscard]] bool wants_observations(policies::OpClass op_class) const noexcept {
    return slots_[policies::index_of(op_class)].wants_observations.load(std::memory_order_relaxed);
  }

  /// A task of that class has ended. `in_flight` and `limit` are filled in here.
  [[nodiscard]] Moved observe(policies::OpClass op_class,
                              policies::Observation observation) noexcept;

  /// The threads within a task that a policy has asked for last; 0: none has.
  [[nodiscard]] std::size_t intra_op_threads() const noexcept {
    return intra_op_threads_.load(std::memory_order_relaxed);
  }

  /// What the policy of a class knows and asks for; ages as of `now`, on the observations' clock.
  void add_to(GateSnapshot& snapshot, policies::OpClass op_class,
              std::chrono::nanoseconds now) const;

 private:
  struct Slot {
    mutable std::mutex mutex;  ///< A completed task only ever tries it.
    std::unique_ptr<policies::LimitPolicy> policy;
    policies::LimitMode mode = policies::LimitMode::kEnforced;
    std::size_t wanted = 0;
    std::unique_ptr<ObservationRing> waiting;  ///< Made with the first policy that needs it.
    std::atomic<bool> wants_observations{false};
    std::atomic<std::size_t> missed{0};
  };

  void split(const policies::LimitPolicy& policy) noexcept;
  [[nodiscard]] Moved take(Slot& slot, policies::OpClass op_class,
                           const policies::Observation& observation) noexcept;

  Gate& gate_;
  Backend& backend_;
  std::array<Slot, policies::kOpClasses> slots_;
  std::atomic<std::size_t> intra_op_threads_{0};
};

}  // namespace streamgate::executor
