// SPDX-License-Identifier: Apache-2.0
//
// What is asked of an executor from outside a task's way: to end tasks early, to come to rest, to
// take over a configuration, to say how things stand. The way itself is core.cc.
#include <streamgate/executor/internal/core.h>

#include <streamgate/executor/executor.h>

#include <algorithm>
#include <string>
#include <utility>

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::kAllOpClasses;
using policies::kLanes;
using policies::OpClass;

}  // namespace

// ---- ending early ----

CancelResult Core::cancel(TaskNode& node) noexcept {
  if (node.door == TaskNode::Door::kSubmit) {
    // Needs neither lock nor executor: whoever sorts the inbox lets go of it.
    if (node.claim(TaskNode::Phase::kInbox)) {
      Waiter::tell(node.publish(Outcome::kCancelled));
      return CancelResult::kCancelled;
    }
  } else {
    // On its caller's stack, so it must leave the inbox before it ends. The caller is in run() and
    // holds the executor.
    if (node.phase.load(std::memory_order_seq_cst) == TaskNode::Phase::kInbox) {
      node.core.sort_inbox();
    }
    // For whoever sorts it out of the inbox later: that thread makes the task claimable first and
    // looks at this word afterwards. After the sorting above, which would end the node, and with it
    // the caller's stack, in the middle of this function.
    node.cancel_requested.store(true, std::memory_order_seq_cst);
  }
  if (node.claim(TaskNode::Phase::kQueued)) {
    // Claimed in the queue: the executor cannot end before it is withdrawn.
    Core& core = node.core;
    const Visitors::Visit visit(core.visitors_);
    {
      const std::lock_guard lock(core.queue_.mutex());
      core.queue_.withdraw(node);
    }
    core.end_without_run(node, Outcome::kCancelled);
    // It may have held up others behind it.
    core.after_release();
    core.note_progress();
    return CancelResult::kCancelled;
  }
  // First, as the node may be gone when a worker that it is with has been told.
  const bool ended = node.phase.load(std::memory_order_acquire) == TaskNode::Phase::kEnded;
  node.cancel_requested.store(true, std::memory_order_seq_cst);
  if (ended) return CancelResult::kTooLate;
  node.recall();
  return CancelResult::kRequested;
}

Clock::time_point Core::expire(Clock::time_point now) noexcept {
  const Visitors::Visit visit(visitors_);
  NodeChain cancelled;
  NodeChain discarded;
  NodeChain expired;
  Clock::time_point next;
  {
    const std::lock_guard lock(queue_.mutex());
    queue_.sort_inbox(cancelled, discarded);
    while (TaskNode* const node = queue_.expired(now)) {
      if (queue_.take(*node)) expired.push(*node);
    }
    next = queue_.next_deadline();
  }
  end_all(cancelled, Outcome::kCancelled);
  discard(discarded);
  end_all(expired, Outcome::kExpired);
  after_release();
  note_progress();
  return next;
}

void Core::cancel_queued() noexcept {
  NodeChain cancelled;
  NodeChain discarded;
  {
    const std::lock_guard lock(queue_.mutex());
    queue_.sort_inbox(cancelled, discarded);
    while (TaskNode* const node = queue_.best(0, AdmissionQueue::Doors::kBoth)) {
      if (queue_.take(*node)) cancelled.push(*node);
    }
  }
  end_all(cancelled, Outcome::kCancelled);
  discard(discarded);
}

// ---- coming to rest ----

void Core::note_progress() noexcept {
  if (!draining_.load(std::memory_order_seq_cst)) return;
  // The lock makes sure that the one who waits is not between its look and its wait.
  const std::lock_guard lock(drain_mutex_);
  drained_.notify_all();
}

DrainReport Core::drain(Drain mode, Clock::time_point deadline) {
  draining_.store(true, std::memory_order_seq_cst);
  gate_.close();
  NodeChain cancelled;
  NodeChain discarded;
  {
    const std::lock_guard lock(queue_.mutex());
    queue_.close(cancelled, discarded);
  }
  end_all(cancelled, Outcome::kCancelled);
  discard(discarded);
  if (mode == Drain::kCancelAll) cancel_all_.store(true, std::memory_order_relaxed);
  if (mode != Drain::kFinish) cancel_queued();
  // With a worker a call cannot be asked to leave: libtorch has no place for that.
  if (mode == Drain::kCancelAll && overflow_ != nullptr) overflow_->stop();
  dispatch();

  const auto at_rest = [&] {
    const std::lock_guard lock(queue_.mutex());
    return queue_.quiet() && gate_.idle() && away_.load(std::memory_order_seq_cst) == 0;
  };
  DrainReport report;
  {
    std::unique_lock lock(drain_mutex_);
    report.drained = deadline == kNever ? (drained_.wait(lock, at_rest), true)
                                        : drained_.wait_until(lock, deadline, at_rest);
  }
  // What is left are the last steps of those who ended the last tasks: visitors, for whom there is
  // nothing to wait on but that they return, and then, as a visitor may still have called one,
  // workers on their way out of the arena.
  while (report.drained && !visitors_.none(Visitors::Came::kOpen)) {
    if (Clock::now() >= deadline) report.drained = false;
    std::this_thread::yield();
  }
  if (report.drained) report.drained = arena_->wait_idle(deadline);
  report.queued = queue_.tasks();
  report.running = streams_.leased() + away_.load(std::memory_order_relaxed);
  return report;
}

// ---- operators ----

std::size_t Core::set_limit(OpClass op_class, std::size_t limit) noexcept {
  const std::size_t now = gate_.set_limit(op_class, limit);
  after_release();
  return now;
}

policies::Config Core::config() const {
  const std::lock_guard lock(config_mutex_);
  return config_;
}

std::vector<std::string_view> Core::apply(const policies::Config& config) {
  // Made without a lock, as the factory may be the user's; those of a reload that another one
  // overtook are made again.
  std::array<std::unique_ptr<policies::LimitPolicy>, policies::kOpClasses> policies;
  std::vector<std::string_view> waiting;
  for (policies::Config seen = this->config();; seen = this->config()) {
    policies = changed_policies(seen, config);
    const std::lock_guard lock(config_mutex_);
    if (config_.gates != seen.gates) continue;
    for (const OpClass op_class : kAllOpClasses) {
      const policies::GateConfig& wanted = config.gates[index_of(op_class)];
      if (auto& policy = policies[index_of(op_class)]) {
        limits_.install(op_class, policy, wanted.mode());
      }
      const std::size_t ceiling = config_.gates[index_of(op_class)].ceiling;
      config_.gates[index_of(op_class)] = wanted;
      config_.gates[index_of(op_class)].ceiling = ceiling;  // Waits for a restart.
    }
    queue_.set_bounds(config.queue.max_tasks, config.queue.max_bytes);
    when_full_.store(config.queue.when_full, std::memory_order_relaxed);
    config_.queue = config.queue;
    config_.executor.drain_timeout = config.executor.drain_timeout;
    config_.overflow.policy = config.overflow.policy;
    config_.overflow.attempts = config.overflow.attempts;
    config_.overflow.quarantine_after = config.overflow.quarantine_after;
    if (overflow_ != nullptr) overflow_->apply(config_.overflow);
    // What still differs is what could not be taken over.
    waiting = policies::changed_keys(config_, config);
    break;
  }
  after_release();
  return waiting;
}

std::array<std::unique_ptr<policies::LimitPolicy>, policies::kOpClasses> Core::changed_policies(
    const policies::Config& present, const policies::Config& wanted) const {
  std::array<std::unique_ptr<policies::LimitPolicy>, policies::kOpClasses> changed;
  for (const OpClass op_class : kAllOpClasses) {
    const policies::GateConfig& gate = wanted.gates[index_of(op_class)];
    const policies::GateConfig& now = present.gates[index_of(op_class)];
    if (gate.same_policy(now)) continue;
    changed[index_of(op_class)] = new_policy(op_class, gate);
  }
  return changed;
}

std::unique_ptr<policies::LimitPolicy> Core::new_policy(OpClass op_class,
                                                        const policies::GateConfig& gate) const {
  const policies::ClassLimits* const measured = measured_.find(op_class);
  return make_policy_(op_class,
                      {.name = gate.policy,
                       .initial = gate.limit,
                       .ceiling = gate_.ceiling(op_class),
                       .initial_is_knee = measured != nullptr && measured->knee == gate.limit,
                       .latency_target = gate.latency_target,
                       .queue_delay = gate.queue_delay,
                       .mode = gate.mode(),
                       .cores_to_split = op_class == OpClass::kRaw ? cores_to_split_ : 0});
}

Snapshot Core::snapshot() const {
  Snapshot snapshot;
  snapshot.backend = std::string(backend_->name());
  snapshot.limits = measured_.state;
  snapshot.unknown_operations = classifier_->unknown_operations();
  recorder_.add_to(snapshot);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    snapshot.lanes[lane].queued = queue_.ordered(lane);
  }
  for (const OpClass op_class : kAllOpClasses) {
    GateSnapshot& gate = snapshot.gates[index_of(op_class)];
    gate.in_use = gate_.in_use(op_class);
    gate.limit = gate_.limit(op_class);
    gate.ceiling = gate_.ceiling(op_class);
    limits_.add_to(gate, op_class, Clock::now().time_since_epoch());
  }
  {
    const std::lock_guard lock(config_mutex_);
    for (const OpClass op_class : kAllOpClasses) {
      snapshot.gates[index_of(op_class)].policy = config_.gates[index_of(op_class)].policy;
    }
  }
  snapshot.queue = {.tasks = queue_.tasks(),
                    .bytes = queue_.bytes(),
                    .max_tasks = queue_.max_tasks(),
                    .max_bytes = queue_.max_bytes()};
  snapshot.streams = {.slots = streams_.slots(),
                      .opened = streams_.opened(),
                      .leased = streams_.leased(),
                      .exhausted = streams_.exhausted()};
  const std::size_t chosen = limits_.intra_op_threads();
  snapshot.arena = {.threads = arena_->threads(),
                    .tickets = arena_->tickets(),
                    .intra_op_threads = chosen != 0 ? chosen : intra_op_threads_,
                    .raised_global_limit = arena_->raised_global_limit()};
  if (overflow_ != nullptr) overflow_->add_to(snapshot);
  snapshot.reloads = {.applied = reloads_applied_.load(std::memory_order_relaxed),
                      .failed = reloads_failed_.load(std::memory_order_relaxed),
                      .last_failed = last_reload_failed_.load(std::memory_order_relaxed),
                      .keys_for_restart = keys_for_restart_.load(std::memory_order_relaxed)};
  return snapshot;
}

}  // namespace streamgate::executor
