// SPDX-License-Identifier: Apache-2.0
//
// The way of a call to a worker and back: judge, send, ended.
#include <streamgate/executor/workers/worker_overflow.h>

#include <streamgate/executor/internal/log.h>

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

namespace streamgate::executor {

using policies::CallPath;
using policies::OverflowReason;

// ---- the door ----

void WorkerDoor::cancel(std::uint64_t number) noexcept {
  // Sequentially consistent, as is close: either it counts this visitor, or the visitor sees null.
  inside_.fetch_add(1, std::memory_order_seq_cst);
  if (WorkerPool* const pool = pool_.load(std::memory_order_seq_cst)) {
    static_cast<void>(pool->cancel(number));
  }
  inside_.fetch_sub(1, std::memory_order_release);
}

void WorkerDoor::close() noexcept {
  pool_.store(nullptr, std::memory_order_seq_cst);
  while (inside_.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
}

// ---- quarantine ----

std::size_t Quarantine::add(std::uint64_t fingerprint, std::size_t killed,
                            std::string_view operation, const std::string& evidence) {
  const std::lock_guard lock(mutex_);
  const auto [found, is_new] = entries_.try_emplace(fingerprint);
  if (is_new) {
    order_.push_back(fingerprint);
    if (order_.size() > kMost) {
      entries_.erase(order_.front());
      order_.pop_front();
    }
  }
  Entry& entry = found->second;  // What is erased is another one.
  entry.killed += killed;
  entry.operation = operation;
  entry.evidence = evidence;
  empty_.store(false, std::memory_order_release);
  return entry.killed;
}

std::size_t Quarantine::killed_by(const PortableCall& call) const noexcept {
  if (empty_.load(std::memory_order_acquire)) return 0;
  const std::uint64_t fingerprint = call.fingerprint();
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(fingerprint);
  return found == entries_.end() ? 0 : found->second.killed;
}

std::string Quarantine::evidence_against(const PortableCall& call) const noexcept {
  const std::uint64_t fingerprint = call.fingerprint();
  try {
    const std::lock_guard lock(mutex_);
    const Entry& entry = entries_.at(fingerprint);
    return "it has killed " + std::to_string(entry.killed) +
           " workers; the last: " + entry.evidence;
  } catch (const std::exception&) {
    return {};  // Forgotten by now, or no memory for it.
  }
}

std::vector<Quarantine::Entry> Quarantine::entries() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> all;
  for (const std::uint64_t fingerprint : order_) all.push_back(entries_.at(fingerprint));
  return all;
}

// ---- beginning and end ----

WorkerOverflow::WorkerOverflow(const policies::Config::Overflow& config, WorkerPoolOptions pool,
                               std::optional<double> probed_gain, OverflowHome& home)
    : home_(home),
      probed_gain_(probed_gain),
      attempts_(config.attempts),
      quarantine_after_(config.quarantine_after),
      policy_name_(config.policy),
      policy_(policies::make_overflow_policy({.name = config.policy, .probed_gain = probed_gain_})),
      wants_observations_(policy_->wants_observations()),
      pool_(std::move(pool)),
      door_(std::make_shared<WorkerDoor>(pool_)) {}

WorkerOverflow::~WorkerOverflow() { stop(); }

void WorkerOverflow::stop() noexcept {
  stopping_.store(true, std::memory_order_release);
  pool_.stop();
  door_->close();
}

// ---- deciding ----

Way WorkerOverflow::count(OverflowReason reason, Way way) noexcept {
  reasons_[static_cast<std::size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  return way;
}

std::size_t WorkerOverflow::workers_busy() const noexcept {
  return std::min(away_.load(std::memory_order_relaxed), workers_.load(std::memory_order_relaxed));
}

Way WorkerOverflow::judge(TaskNode& node, const HereNow& here) noexcept {
  PortableCall* const call = node.portable();
  if (call == nullptr) return Way::kHere;
  // Wherever it would run: what has killed workers would kill us.
  const std::size_t most = quarantine_after_.load(std::memory_order_relaxed);
  if (most != 0 && quarantine_.killed_by(*call) >= most) {
    call->keep_evidence(Outcome::kQuarantined, quarantine_.evidence_against(*call));
    return Way::kRefused;
  }
  if (call->traits.place == Place::kWorker) return Way::kAway;
  if (here.room) return count(OverflowReason::kRoom, Way::kHere);

  const WorkerLoad load = pool_.load();
  workers_.store(load.ready, std::memory_order_relaxed);
  policies::OverflowDecision decision;
  {
    // A lock, as the pool's above, only on the way of a call that finds its gate full, and so waits
    // or goes to another process.
    const std::lock_guard lock(policy_mutex_);
    decision = policy_->decide({.now = Clock::now().time_since_epoch(),
                                .operation = call->traits.operation,
                                .lane = node.classes.lane(),
                                .room = false,
                                .waiting = here.waiting,
                                .width = here.width,
                                .workers = load.ready,
                                .workers_idle = load.idle,
                                .workers_waiting = load.queued});
  }
  return count(decision.reason, decision.path == CallPath::kWorker ? Way::kAway : Way::kHere);
}

// ---- there and back ----

void WorkerOverflow::send(TaskNode& node) noexcept {
  PortableCall& call = *node.portable();
  call.overflow = this;
  call.door = door_;
  call.attempts = 1;
  if (call.traits.repeatable) {
    // Not one more death than makes it refused.
    const std::size_t most = quarantine_after_.load(std::memory_order_relaxed);
    const std::size_t left =
        most == 0 ? SIZE_MAX : most - std::min(most - 1, quarantine_.killed_by(call));
    call.attempts = std::min(attempts_.load(std::memory_order_relaxed), left);
  }
  away_.fetch_add(1, std::memory_order_relaxed);
  // It may end, and with it the node, before submit returns.
  call.hold();
  // A call by run has its caller waiting, and stays where it is on that one's stack.
  const bool waits = node.door == TaskNode::Door::kRun;
  const std::uint64_t number = pool_.submit(call, {.start_by = node.deadline,
                                                   .attempts = call.attempts,
                                                   .prefer_worker = call.traits.prefer_worker,
                                                   .attended = waits});
  // Sequentially consistent, as in whoever cancels: that one sees the number, or we see its word.
  call.number.store(number, std::memory_order_seq_cst);
  if (node.cancel_requested.load(std::memory_order_seq_cst))
    static_cast<void>(pool_.cancel(number));
  if (waits) pool_.attend(call);
  call.let_go();
}

void PortableCall::complete(CallEnd end) noexcept { overflow->ended(*this, std::move(end)); }

void WorkerOverflow::ended(PortableCall& call, CallEnd end) noexcept {
  away_.fetch_sub(1, std::memory_order_relaxed);
  const bool elsewhere = call.traits.place == Place::kAnywhere;
  const bool stopping = stopping_.load(std::memory_order_acquire);
  const bool refused = end.result == CallResult::kRefused ||
                       (end.result == CallResult::kFailed && call.does_not_fit);
  if (refused && !end.begun && elsewhere && !stopping) {
    returned_.fetch_add(1, std::memory_order_relaxed);
    call.number.store(0, std::memory_order_seq_cst);
    return home_.not_taken(call.node);
  }
  if (end.result == CallResult::kRefused && stopping) end.result = CallResult::kCancelled;
  if (end.result == CallResult::kWorkerDied) {
    try {
      const std::size_t killed =
          quarantine_.add(call.fingerprint(), call.attempts, call.operation_name(), end.text);
      const std::size_t most = quarantine_after_.load(std::memory_order_relaxed);
      if (most != 0 && killed >= most) {
        const std::string count = std::to_string(killed);
        log(LogLevel::kError, "call_quarantined",
            "calls of " + std::string(call.operation_name()) +
                " with these arguments are refused from now on, as they have killed " + count +
                " workers; the last: " + end.text,
            {{"operation", call.operation_name()}, {"killed", count}, {"evidence", end.text}});
      }
    } catch (const std::exception&) {
      // No memory to remember it with. The next one will be counted.
    }
  }
  const bool first_runs = end.first_runs;
  const Outcome outcome = call.take(end);
  outcomes_[index_of(outcome)].fetch_add(1, std::memory_order_relaxed);
  if (outcome == Outcome::kOk) {
    const Clock::time_point now = Clock::now();
    observe({.now = now.time_since_epoch(),
             .path = CallPath::kWorker,
             .operation = call.traits.operation,
             .lane = call.node.classes.lane(),
             .service = now - call.started,
             .workers_busy = workers_busy(),
             .first_runs = first_runs});
  }
  home_.came_back(call.node, outcome);
}

void WorkerOverflow::ran_here(const TaskNode& node, Clock::time_point now,
                              std::chrono::nanoseconds service, bool full) noexcept {
  if (!wants_observations_.load(std::memory_order_relaxed)) return;
  const PortableCall* const call = node.portable();
  observe({.now = now.time_since_epoch(),
           .path = CallPath::kHere,
           .operation = call == nullptr ? 0 : call->traits.operation,
           .lane = node.classes.lane(),
           .service = service,
           .workers_busy = workers_busy(),
           .full = full});
}

void WorkerOverflow::observe(const policies::OverflowObservation& observation) noexcept {
  // A sample is enough: no task waits for another to be observed.
  const std::unique_lock lock(policy_mutex_, std::try_to_lock);
  if (lock.owns_lock()) policy_->observe(observation);
}

// ---- operators ----

void WorkerOverflow::apply(const policies::Config::Overflow& config) {
  attempts_.store(config.attempts, std::memory_order_relaxed);
  quarantine_after_.store(config.quarantine_after, std::memory_order_relaxed);
  auto policy =
      policies::make_overflow_policy({.name = config.policy, .probed_gain = probed_gain_});
  const std::lock_guard lock(policy_mutex_);
  if (policy_name_ == config.policy) return;
  policy_name_ = config.policy;
  wants_observations_.store(policy->wants_observations(), std::memory_order_relaxed);
  policy_.swap(policy);
}

void WorkerOverflow::add_to(Snapshot& snapshot) const {
  snapshot.workers = pool_.snapshot();
  OverflowSnapshot& overflow = snapshot.overflow;
  for (std::size_t i = 0; i < reasons_.size(); ++i) {
    overflow.decisions[i] = reasons_[i].load(std::memory_order_relaxed);
  }
  for (std::size_t i = 0; i < outcomes_.size(); ++i) {
    overflow.outcomes[i] = outcomes_[i].load(std::memory_order_relaxed);
  }
  overflow.returned = returned_.load(std::memory_order_relaxed);
  overflow.away = away_.load(std::memory_order_relaxed);
  for (const Quarantine::Entry& entry : quarantine_.entries()) {
    overflow.quarantined.push_back(
        {.operation = entry.operation, .killed = entry.killed, .evidence = entry.evidence});
  }
  const std::lock_guard lock(policy_mutex_);
  overflow.policy = policy_name_;
  overflow.measured = policy_->gain();
}

}  // namespace streamgate::executor
