// SPDX-License-Identifier: Apache-2.0
//
// Who feeds a policy at a moment, and what becomes of the observations of those who do not.
#include <streamgate/executor/internal/limit_control.h>

#include <algorithm>
#include <utility>

namespace streamgate::executor {

using policies::index_of;
using policies::LimitMode;
using policies::Observation;
using policies::OpClass;

void LimitControl::install(OpClass op_class, std::unique_ptr<policies::LimitPolicy>& policy,
                           LimitMode mode) {
  Slot& slot = slots_[index_of(op_class)];
  const bool wants = policy->wants_observations();
  const std::lock_guard lock(slot.mutex);
  if (wants && slot.waiting == nullptr) slot.waiting = std::make_unique<ObservationRing>();
  // What others have seen was for the policy that goes.
  while (slot.waiting != nullptr && slot.waiting->pop()) {
  }
  slot.missed.store(0, std::memory_order_relaxed);
  slot.wanted = gate_.set_limit(op_class, policy->initial_limit());
  if (mode == LimitMode::kEnforced) split(*policy);
  slot.mode = mode;
  slot.policy.swap(policy);
  // Release: pairs with observe's acquire; who sees it sees the ring.
  slot.wants_observations.store(wants, std::memory_order_release);
}

LimitControl::Moved LimitControl::observe(OpClass op_class, Observation observation) noexcept {
  Slot& slot = slots_[index_of(op_class)];
  // Acquire: pairs with install's release.
  if (!slot.wants_observations.load(std::memory_order_acquire)) return Moved::kNo;
  observation.in_flight = gate_.in_use(op_class);
  observation.limit = gate_.limit(op_class);
  const std::unique_lock lock(slot.mutex, std::try_to_lock);
  if (!lock) {
    // Nobody need be told: it is taken with the next completion that finds the policy free. Without
    // another completion there is nothing to decide.
    if (!slot.waiting->push(observation)) slot.missed.fetch_add(1, std::memory_order_relaxed);
    return Moved::kNo;
  }
  Moved moved = Moved::kNo;
  // At most one round of the ring, lest others keep this thread from its own work.
  for (std::size_t i = 0; i < ObservationRing::kCells; ++i) {
    const std::optional<Observation> earlier = slot.waiting->pop();
    if (!earlier) break;
    if (take(slot, op_class, *earlier) == Moved::kUp) moved = Moved::kUp;
  }
  if (slot.missed.load(std::memory_order_relaxed) != 0) {
    observation.missed = slot.missed.exchange(0, std::memory_order_relaxed);
  }
  if (take(slot, op_class, observation) == Moved::kUp) moved = Moved::kUp;
  return moved;
}

void LimitControl::split(const policies::LimitPolicy& policy) noexcept {
  const std::size_t threads = policy.intra_op_threads();
  if (threads == 0 || threads == intra_op_threads()) return;
  intra_op_threads_.store(threads, std::memory_order_relaxed);
  backend_.set_intra_op_threads(threads);
}

LimitControl::Moved LimitControl::take(Slot& slot, OpClass op_class,
                                       const Observation& observation) noexcept {
  const std::optional<std::size_t> limit = slot.policy->observe(observation);
  if (!limit) return Moved::kNo;
  slot.wanted = *limit;
  if (slot.mode == LimitMode::kShadow) return Moved::kNo;
  split(*slot.policy);
  // With the lock held, so that limits are set in the order in which they were decided.
  const std::size_t before = gate_.limit(op_class);
  slot.wanted = gate_.set_limit(op_class, *limit);
  return slot.wanted > before ? Moved::kUp : Moved::kNo;
}

void LimitControl::add_to(GateSnapshot& snapshot, OpClass op_class,
                          std::chrono::nanoseconds now) const {
  const Slot& slot = slots_[index_of(op_class)];
  const std::lock_guard lock(slot.mutex);
  snapshot.enforced = slot.mode == LimitMode::kEnforced;
  snapshot.wanted = slot.wanted;
  snapshot.windows = slot.policy->windows();
  snapshot.decision_counts = slot.policy->decision_counts();
  snapshot.decisions = slot.policy->recent_decisions();
  if (const auto knee = slot.policy->knee()) {
    snapshot.knee = {.limit = knee->knee,
                     .low = knee->low,
                     .high = knee->high,
                     .per_second = knee->per_second,
                     .age = std::max(now - knee->confirmed, std::chrono::nanoseconds(0))};
  }
}

}  // namespace streamgate::executor
