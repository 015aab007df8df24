// SPDX-License-Identifier: Apache-2.0
//
// The way of a task from its submission to its end. Read it from submit and run downwards.
#include <streamgate/executor/internal/core.h>

#include <streamgate/executor/executor.h>
#include <streamgate/executor/internal/learning_run.h>
#include <streamgate/executor/learned_class.h>

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>
#include <utility>

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::kAllOpClasses;
using policies::kLanes;
using policies::OpClass;
using policies::OpClassSet;

thread_local TaskNode* running_task = nullptr;

/// Guards TaskNode::waits_for of all tasks. One for the process: nested waits are rare.
std::mutex& nested_mutex() {
  static auto* const mutex = new std::mutex;
  return *mutex;
}

constexpr unsigned lane_bit(std::size_t lane) { return 1U << lane; }

}  // namespace

// ---- visitors ----

std::atomic<std::size_t>& Visitors::mine(Came came) noexcept {
  static std::atomic<std::size_t> next{0};
  thread_local const std::size_t stripe = next.fetch_add(1, std::memory_order_relaxed) % kStripes;
  return stripes_[stripe].counts[static_cast<std::size_t>(came)];
}

bool Visitors::none(Came came) const noexcept {
  return std::all_of(stripes_.begin(), stripes_.end(), [came](const Stripe& stripe) {
    return stripe.counts[static_cast<std::size_t>(came)].load(std::memory_order_seq_cst) == 0;
  });
}

// ---- beginning and end ----

Core::Core(policies::Config config, std::unique_ptr<Backend> backend, const GateOptions& gate,
           MeasuredLimits measured, std::unique_ptr<Classifier> classifier,
           PolicyFactory make_policy)
    : backend_(std::move(backend)),
      measured_(std::move(measured)),
      classifier_(std::move(classifier)),
      default_class_(backend_->default_class()),
      learns_memory_of_calls_(config.memory.learn_calls),
      constructor_(std::this_thread::get_id()),
      when_full_(config.queue.when_full),
      gate_(gate),
      queue_(config.queue.max_tasks, config.queue.max_bytes),
      memory_(*backend_, config.memory),
      streams_(std::min(config.executor.streams, backend_->max_streams())),
      recorder_(streams_.slots()),
      make_policy_(std::move(make_policy)),
      limits_(gate_, *backend_),
      config_(std::move(config)),
      intra_op_threads_(config_.executor.intra_op_threads),
      cores_to_split_(config_.executor.adapt_intra_op && backend_->shares_cores()
                          ? config_.executor.threads * intra_op_threads_
                          : 0) {
  for (const OpClass op_class : kAllOpClasses) {
    const policies::GateConfig& wanted = config_.gates[index_of(op_class)];
    auto policy = new_policy(op_class, wanted);
    limits_.install(op_class, policy, wanted.mode());
  }
  arena_ = std::make_unique<Arena>(config_.executor.threads, *backend_, *this);
  timer_ = std::make_unique<DeadlineTimer>([this](Clock::time_point now) { return expire(now); });
}

Core::~Core() {
  // Before all that calls come back to.
  overflow_.reset();
  // The timer first: it ends tasks, and calls the arena for those behind them.
  timer_.reset();
  arena_.reset();
  // Those who are being told that it has closed; they block nowhere.
  while (!visitors_.none(Visitors::Came::kClosed)) std::this_thread::yield();
}

// ---- the two doors ----

std::optional<Outcome> Core::turn_away(TaskNode& node, const std::stop_token& stop) noexcept {
  node.submitted = Clock::now();
  if (observer_ != nullptr && (observe_all_ || node.trace)) node.observer = observer_;
  if (gate_.closed()) return Outcome::kShutdown;
  if (stop.stop_requested()) return Outcome::kCancelled;
  if (node.deadline <= node.submitted) return Outcome::kExpired;
  if (node.needs_memory) {
    memory_.look(node.submitted);
    if (memory_.is_too_large(node)) return Outcome::kTooLarge;
  }
  return std::nullopt;
}

void Core::submit(TaskNode& node, const std::stop_token& stop) noexcept {
  const Visitors::Visit visit(visitors_, came());
  std::optional<Outcome> refused = turn_away(node, stop);
  // The node may end, and vanish, as soon as it is in the queue: what is needed later is read now.
  const OpClassSet classes = node.classes;
  const Clock::time_point deadline = node.deadline;
  if (!refused && overflow_ != nullptr) {
    const Way way = way_of(node, false);
    if (way == Way::kRefused) refused = Outcome::kQuarantined;
    if (way == Way::kAway && !(refused = send_away(node, stop))) return;
  }
  if (!refused) refused = enqueue(node, stop);
  if (refused) {
    end_without_run(node, *refused);
    // The room that the task held for a moment may be what a drain is waiting for.
    note_progress();
    return;
  }
  if (deadline != kNever) timer_->arm(deadline);
  // When the gate refuses, whoever gives a permit back finds the task, as it is in the queue.
  if (gate_.would_refuse(classes) == Gate::Refusal::kNone) arena_->call();
}

Outcome Core::run(CallerNode& node, const std::stop_token& stop) {
  const Visitors::Visit visit(visitors_, came());
  const Outcome outcome = run_or_refuse(node, stop);
  // By its caller, whoever ended it: the node is the caller's own.
  if (node.observer != nullptr) [[unlikely]]
    node.tell_observer(outcome);
  return outcome;
}

Outcome Core::run_or_refuse(CallerNode& node, const std::stop_token& stop) {
  if (const std::optional<Outcome> refused = turn_away(node, stop)) {
    recorder_.ended_waiting(node.classes.lane(), *refused);
    return *refused;
  }
  TaskNode* const outer = current_task();
  const bool inside = outer != nullptr && &outer->core == this;
  const Way way = overflow_ == nullptr ? Way::kHere : way_of(node, inside);
  if (way == Way::kRefused) {
    recorder_.ended_waiting(node.classes.lane(), Outcome::kQuarantined);
    return Outcome::kQuarantined;
  }
  if (way == Way::kHere && inside) {
    const std::optional<OpClassSet> missing = outer->classes.missing_for(node.classes);
    if (missing && !gate_.try_acquire(*missing)) {
      throw NestedWaitError("run() inside a task of class " +
                            std::string(to_string(outer->classes)) + " needs a permit of class " +
                            std::string(to_string(*missing)) +
                            ", and none is free: waiting for it here could wait for ever. Give the "
                            "outer task both classes, or submit() and then()");
    }
    node.watch(stop);
    const Outcome outcome = run_nested(node, *outer);
    if (missing) {
      gate_.release(*missing);
      after_release();
    }
    return outcome;
  }

  node.by_constructor = std::this_thread::get_id() == constructor_;
  Clock::time_point now = node.submitted;
  if (way == Way::kAway) {
    if (const std::optional<Outcome> refused = send_away(node, stop)) {
      recorder_.ended_waiting(node.classes.lane(), *refused);
      return *refused;
    }
    if (!node.wait_turn()) return node.outcome;
    now = Clock::now();  // It came back to run here.
  } else if (try_admit_caller(node)) {
    node.watch(stop);
  } else {
    if (const std::optional<Outcome> refused = enqueue(node, stop)) {
      recorder_.ended_waiting(node.classes.lane(), *refused);
      // For a moment this may have held a permit without a stream, and kept it from another.
      after_release();
      note_progress();
      return *refused;
    }
    if (node.deadline != kNever) timer_->arm(node.deadline);
    dispatch();
    if (!node.wait_turn()) return node.outcome;
    now = Clock::now();
  }
  if (execute(node, Backend::Thread::kCaller, now) == Progress::kPending) {
    static_cast<void>(node.wait_turn());
    return node.outcome;
  }
  static_cast<void>(settle(node));
  give_back(node);
  after_release();
  note_progress();
  return node.outcome;
}

/// `on_own_stream`: on one that none of those who wait could have.
bool Core::may_overtake(std::size_t lane, bool on_own_stream) const noexcept {
  if (queue_.tasks() == 0) return true;
  if (!queue_.inbox_empty()) return false;
  const OpClassSet classes = OpClassSet::from_lane(lane);
  for (std::size_t other = 0; other < kLanes; ++other) {
    if (queue_.ordered(other) == 0) continue;
    const OpClassSet waiting = OpClassSet::from_lane(other);
    if (gate_.exclude_each_other(waiting, classes)) return false;
    if (waiting.shares_with(classes) && !on_own_stream) return false;
  }
  return true;
}

bool Core::try_admit_caller(CallerNode& node) noexcept {
  // Nor does it go ahead of those that wait for memory: the queue counts who does that.
  if (node.needs_memory && queue_.ordered_for_memory() != 0) return false;
  // Those who wait for a stream must not keep the constructing thread from the one that is kept for
  // it. They lose no turn: a stream that comes back goes to them, as then it is not the only one.
  const bool on_own_stream = node.by_constructor && streams_.only_constructors_is_free();
  if (on_own_stream && !queue_.inbox_empty()) sort_inbox();
  if (!may_overtake(node.classes.lane(), on_own_stream) || !gate_.try_acquire(node.classes)) {
    return false;
  }
  const std::optional<StreamIndex> lease = streams_.lease(lessee(node));
  if (!lease) {
    gate_.release(node.classes);
    // No dispatch: the node goes to the queue next, and its own dispatch serves everybody.
    return false;
  }
  if (node.needs_memory && !memory_.try_reserve(node)) {
    streams_.give_back(*lease);
    gate_.release(node.classes);
    return false;
  }
  node.stream = *lease;
  node.stamp(node.admitted);
  node.phase.store(TaskNode::Phase::kClaimed, std::memory_order_relaxed);
  return true;
}

StreamPool::Caller Core::lessee(const TaskNode& node) const noexcept {
  return node.by_constructor ? StreamPool::Caller::kConstructor : StreamPool::Caller::kOther;
}

// ---- waiting ----

std::optional<Outcome> Core::enqueue(TaskNode& node, const std::stop_token& stop) noexcept {
  if (queue_.reserve(node.cost_bytes) != AdmissionQueue::Push::kAccepted) {
    if (const std::optional<Outcome> refused = make_room(node)) return refused;
  }
  // Before the push, since the task may end at once. A stop that comes in between claims the task
  // (submit) or leaves word (run); either is seen when the inbox is sorted.
  node.watch(stop);
  const std::size_t cost_bytes = node.cost_bytes;
  if (queue_.push(node)) return std::nullopt;
  queue_.unreserve(cost_bytes);
  // The stop may have ended it already; then only the executor's share is left to give up.
  if (node.claim(TaskNode::Phase::kInbox)) return Outcome::kShutdown;
  recorder_.ended_waiting(node.classes.lane(), Outcome::kCancelled);
  node.let_go();
  note_progress();
  return std::nullopt;
}

std::optional<Outcome> Core::make_room(const TaskNode& node) noexcept {
  NodeChain cancelled;
  NodeChain discarded;
  NodeChain shed;
  AdmissionQueue::Push push;
  {
    const std::lock_guard lock(queue_.mutex());
    // Tasks that were cancelled in the inbox hold their room until it is sorted.
    queue_.sort_inbox(cancelled, discarded);
    push = queue_.reserve(node.cost_bytes);
    if (push != AdmissionQueue::Push::kAccepted &&
        when_full_.load(std::memory_order_relaxed) == policies::WhenFull::kShedLowest &&
        queue_.make_room(node.priority, node.cost_bytes, shed)) {
      push = AdmissionQueue::Push::kAccepted;
    }
  }
  end_all(cancelled, Outcome::kCancelled);
  discard(discarded);
  end_all(shed, Outcome::kShed);
  switch (push) {
    case AdmissionQueue::Push::kQueueFull:
      return Outcome::kQueueFull;
    case AdmissionQueue::Push::kBytesFull:
      return Outcome::kBytesFull;
    default:
      return std::nullopt;
  }
}

void Core::sort_inbox() noexcept {
  NodeChain cancelled;
  NodeChain discarded;
  {
    const std::lock_guard lock(queue_.mutex());
    queue_.sort_inbox(cancelled, discarded);
  }
  end_all(cancelled, Outcome::kCancelled);
  discard(discarded);
}

void Core::end_without_run(TaskNode& node, Outcome outcome) noexcept {
  recorder_.ended_waiting(node.classes.lane(), outcome);
  node.unwatch();
  node.outcome = outcome;
  node.phase.store(TaskNode::Phase::kEnded, std::memory_order_release);
  publish(node);
}

void Core::end_all(NodeChain& chain, Outcome outcome) noexcept {
  while (!chain.empty()) end_without_run(chain.pop(), outcome);
}

void Core::discard(NodeChain& chain) noexcept {
  while (!chain.empty()) {
    TaskNode& node = chain.pop();
    recorder_.ended_waiting(node.classes.lane(), Outcome::kCancelled);
    node.let_go();
  }
}

// ---- admission ----

unsigned Core::blocked_with(std::size_t lane, Gate::Refusal refusal) const noexcept {
  // No younger task overtakes an older one that needs the same class; and while a task waits for
  // others to make room for it, none of those others comes after it. So nobody starves.
  const OpClassSet refused = OpClassSet::from_lane(lane);
  unsigned blocked = lane_bit(lane);
  for (std::size_t other = 0; other < kLanes; ++other) {
    const OpClassSet classes = OpClassSet::from_lane(other);
    if (classes.shares_with(refused) ||
        (refusal == Gate::Refusal::kExcluded && gate_.exclude_each_other(classes, refused))) {
      blocked |= lane_bit(other);
    }
  }
  return blocked;
}

/// Memory that is short for a task keeps others from nothing: those that need none go on, and those
/// that need less go ahead of it, until so many have that it is due.
Core::Turn Core::next_turn(unsigned blocked_lanes, AdmissionQueue::Doors doors) const noexcept {
  using Memory = AdmissionQueue::Memory;
  TaskNode* const best = queue_.best(blocked_lanes, doors);
  if (best == nullptr || !best->needs_memory || memory_.is_too_large(*best) ||
      memory_.fits(*best)) {
    return {.node = best};
  }
  Turn turn{.node = queue_.best(blocked_lanes, doors, Memory::kNeedNone), .passed = best};
  if (MemoryBudget::is_due(*best)) return turn;
  TaskNode* const smaller = queue_.best_that_fits(
      blocked_lanes, doors, [this](const TaskNode& node) { return memory_.fits(node); });
  if (smaller != nullptr &&
      (turn.node == nullptr || AdmissionQueue::goes_before(*smaller, *turn.node))) {
    turn.node = smaller;
  }
  return turn;
}

TaskNode* Core::take_over(const TaskNode& ended) noexcept {
  // What an ended task had reserved is to be given back before the next one is judged.
  if (ended.needs_memory) return nullptr;
  TaskNode* next = queue_.best(0, AdmissionQueue::Doors::kBoth);
  if (next == nullptr || queue_.must_sort_before(*next)) return nullptr;
  if (next->needs_memory || next->door != TaskNode::Door::kSubmit ||
      next->classes != ended.classes || !gate_.may_keep(ended.classes) || !queue_.take(*next)) {
    return nullptr;
  }
  next->stream = ended.stream;
  next->stamp(next->admitted);
  return next;
}

Core::Admitted Core::admit(Taker taker, const TaskNode* ended) noexcept {
  Admitted admitted;
  NodeChain cancelled;
  NodeChain discarded;
  NodeChain callers;
  NodeChain too_large;
  bool memory_is_short = false;
  {
    // The one lock of the task path: the order of the queue needs it. It covers a few loads and
    // one unlinking; submissions pass beside it, by the inbox.
    const std::lock_guard lock(queue_.mutex());
    if (taker == Taker::kWorkerBack) --workers_with_task_;
    if (ended != nullptr) {
      // The common case under load: the next task is like the last one, and takes over permit and
      // stream as they are. Four steps on words that all workers share are spared.
      admitted.node = take_over(*ended);
      if (admitted.node != nullptr) {
        // Nothing was given back, so nothing more can start than could before.
        admitted.kept = true;
        ++workers_with_task_;
        return admitted;
      }
      give_back(*ended);
    }
    queue_.sort_inbox(cancelled, discarded);
    unsigned blocked_lanes = 0;
    auto doors = AdmissionQueue::Doors::kBoth;
    for (;;) {
      const auto [node, passed] = next_turn(blocked_lanes, doors);
      if (passed != nullptr) memory_is_short = true;
      if (node == nullptr) break;
      if (node->needs_memory && memory_.is_too_large(*node)) {
        // The budget is smaller than it was when this was submitted.
        if (queue_.take(*node)) too_large.push(*node);
        continue;
      }
      const std::size_t lane = node->classes.lane();
      const bool for_worker = node->door == TaskNode::Door::kSubmit;
      if (for_worker && (taker == Taker::kOutside || admitted.node != nullptr)) {
        // Not for this thread to run. It takes no permit for it either: the worker that comes will.
        const Gate::Refusal refusal = gate_.would_refuse(node->classes);
        if (refusal != Gate::Refusal::kNone) {
          blocked_lanes |= blocked_with(lane, refusal);
        } else {
          admitted.more = true;
          // A worker without a task comes for it, in its turn before those behind it. Not so when
          // every worker has a task: callers of run bring their own threads.
          if (workers_with_task_ < arena_->threads()) break;
          doors = AdmissionQueue::Doors::kRunOnly;
        }
        continue;
      }
      const Gate::Refusal refusal = gate_.acquire_closed(node->classes);
      if (refusal != Gate::Refusal::kNone) {
        blocked_lanes |= blocked_with(lane, refusal);
        continue;
      }
      const std::optional<StreamIndex> lease = streams_.lease(lessee(*node));
      if (!lease) {
        gate_.release(node->classes);
        break;
      }
      if (node->needs_memory && !memory_.try_reserve(*node)) {
        // A caller of run was faster; or there is less than there was. The next look finds out.
        streams_.give_back(*lease);
        gate_.release(node->classes);
        continue;
      }
      node->stream = *lease;
      if (!queue_.take(*node)) {
        // Cancelled at this moment; the one who cancelled it dispatches after us.
        give_back(*node);
        continue;
      }
      if (node->needs_memory && passed != nullptr) memory_.overtaken(*passed);
      node->stamp(node->admitted);
      if (for_worker) {
        admitted.node = node;
        if (++workers_with_task_ == arena_->threads()) doors = AdmissionQueue::Doors::kRunOnly;
      } else {
        callers.push(*node);
      }
    }
  }
  while (!callers.empty()) callers.pop().wake_to_run();
  end_all(cancelled, Outcome::kCancelled);
  discard(discarded);
  if (!too_large.empty()) {
    end_all(too_large, Outcome::kTooLarge);
    note_progress();
  }
  if (memory_is_short) wait_for_memory();
  return admitted;
}

/// What is short may come back from somebody who tells nobody.
void Core::wait_for_memory() noexcept {
  if (!memory_.moves()) return;
  memory_short_.store(true, std::memory_order_seq_cst);
  timer_->arm(Clock::now() + MemoryBudget::kLookEvery);
}

void Core::dispatch() noexcept {
  if (admit(Taker::kOutside).more) arena_->call();
}

void Core::work() noexcept {
  TaskNode* ended = nullptr;
  Clock::time_point now{};
  for (Taker taker = Taker::kWorker;; taker = Taker::kWorkerBack) {
    const Admitted admitted = admit(taker, ended);
    if (ended != nullptr) {
      // Only now, as permit and stream come first: who sees the result finds them given back.
      Waiter* const waiter = publish_untold(*ended);
      ended = nullptr;
      note_progress();
      if (waiter != nullptr && !waiter->brief()) {
        step_aside(admitted.node);
        Waiter::tell(waiter);
        continue;
      }
      Waiter::tell(waiter);
    }
    if (TaskNode* const untold = take_untold()) {
      step_aside(admitted.node);
      tell(*untold);
      continue;
    }
    if (admitted.more) arena_->call();
    TaskNode* const node = admitted.node;
    if (node == nullptr) return;
    // A successor starts when its predecessor ended, so one clock read serves both.
    if (!admitted.kept) now = Clock::now();
    if (execute(*node, Backend::Thread::kWorker, now) == Progress::kDone) {
      now = settle(*node);
      ended = node;
    }
  }
}

/// Before a worker runs a continuation, which may take its time or wait for other tasks: gives the
/// task that it has just admitted back, with permit and stream, and lets others go for what waits.
void Core::step_aside(TaskNode* next) noexcept {
  Clock::time_point deadline = kNever;
  {
    const std::lock_guard lock(queue_.mutex());
    if (next == nullptr) {
      ++workers_with_task_;
    } else {
      deadline = next->deadline;
      // First, so that no caller of run takes the permit past it. It stays while the lock is held.
      queue_.put_back(*next);
      give_back(*next);
    }
  }
  if (deadline != kNever) timer_->arm(deadline);
  after_release();
}

// ---- running ----

Progress Core::execute(TaskNode& node, Backend::Thread thread, Clock::time_point now) noexcept {
  node.started = now;
  // That is the end of its predecessor, or its own submission, to spare a look at the clock.
  node.stamp(node.started);
  if (node.deadline <= now) {
    node.outcome = Outcome::kExpired;
    return Progress::kDone;
  }
  node.phase.store(TaskNode::Phase::kRunning, std::memory_order_release);
  try {
    if (streams_.needs_opening(node.stream)) {
      backend_->open_stream(node.stream);
      streams_.mark_opened(node.stream);
    }
    backend_->require_usable(node.stream);
    backend_->prepare(node.stream, node.priority);
  } catch (...) {
    node.fail(std::current_exception());
    node.outcome = Outcome::kFailed;
    return Progress::kDone;  // There is no stream to ask.
  }
  node.outcome = invoke(node, thread);
  node.stamp(node.encoded);
  return backend_->notify_when_done(node.stream, node);
}

Outcome Core::invoke(TaskNode& node, Backend::Thread thread) noexcept {
  TaskContext context(node, node.stream, cancel_all_);
  TaskNode* const outer = std::exchange(running_task, &node);
  backend_->enter(node.stream, thread);
  if (node.learn_memory != nullptr) memory_.begins(node);
  const Outcome outcome = call(node, context);
  if (node.learn_memory != nullptr) memory_.ends(node, outcome);
  backend_->leave(node.stream, thread);
  running_task = outer;
  return outcome;
}

Outcome Core::call(TaskNode& node, TaskContext& context) const noexcept {
  if (node.learn == nullptr || node.learn->learned()) return node.invoke(context);
  LearningRun run(*node.learn, *classifier_);
  const Outcome outcome = node.invoke(context);
  run.end(outcome == Outcome::kOk);
  return outcome;
}

void Core::give_back(const TaskNode& node) noexcept {
  const OpClassSet classes = node.classes;
  if (node.needs_memory) memory_.give_back(node);
  streams_.give_back(node.stream);
  gate_.release(classes);
}

/// What the task's callable could not see: the device may have died of what it encoded.
void Core::judge(TaskNode& node) const noexcept {
  if (node.outcome != Outcome::kOk) return;
  if (std::exception_ptr error = backend_->failure(node.stream)) {
    node.fail(std::move(error));
    node.outcome = Outcome::kFailed;
  }
}

Clock::time_point Core::settle(TaskNode& node) noexcept {
  Clock::time_point now = node.started;
  if (node.outcome == Outcome::kExpired) {
    recorder_.ended_waiting(node.classes.lane(), Outcome::kExpired);
  } else {
    judge(node);
    backend_->clear_up_after(node.classes);
    now = Clock::now();
    const auto wait = node.started - node.submitted;
    const auto run = now - node.started;
    // Before the lease goes: it is what makes this thread the shard's only writer.
    recorder_.ran(node.stream, node.classes.lane(), node.outcome, wait, run);
    observe(node, wait, run, now);
    if (overflow_ != nullptr && node.outcome == Outcome::kOk) {
      // Looked at before the permit goes back.
      overflow_->ran_here(node, now, run, gate_.would_refuse(node.classes) != Gate::Refusal::kNone);
    }
  }
  node.completed = now;
  node.unwatch();
  node.phase.store(TaskNode::Phase::kEnded, std::memory_order_release);
  return now;
}

Waiter* Core::publish_untold(TaskNode& node) noexcept {
  // A caller's node is gone once it is published.
  const bool submitted = node.door == TaskNode::Door::kSubmit;
  Waiter* const waiter = node.observe_and_publish(node.outcome);
  // The waiter has a share of its own.
  if (submitted) node.release_by_executor();
  return waiter;
}

void Core::observe(const TaskNode& node, std::chrono::nanoseconds wait,
                   std::chrono::nanoseconds run, Clock::time_point now) noexcept {
  // What its caller gave up is neither a failure nor an answer.
  if (node.outcome == Outcome::kCancelled) return;
  for (const OpClass op_class : kAllOpClasses) {
    if (!node.classes.contains(op_class) || !limits_.wants_observations(op_class)) continue;
    const LimitControl::Moved moved =
        limits_.observe(op_class, {.now = now.time_since_epoch(),
                                   .wait = wait,
                                   .service = run,
                                   .good = node.outcome == Outcome::kOk});
    if (moved == LimitControl::Moved::kUp) after_release();
  }
}

void Core::stream_done(TaskNode& node) noexcept {
  const Visitors::Visit visit(visitors_);
  static_cast<void>(settle(node));
  give_back(node);
  after_release();
  publish(node);
  note_progress();
}

// ---- waiting inside a task ----

TaskNode* Core::current_task() noexcept { return running_task; }

Outcome Core::run_nested(TaskNode& node, TaskNode& outer) noexcept {
  {
    const std::lock_guard lock(nested_mutex());
    outer.waits_for = &node;
  }
  node.stream = outer.stream;
  node.phase.store(TaskNode::Phase::kRunning, std::memory_order_release);
  node.started = Clock::now();
  node.admitted = node.started;  // Under the outer task's permit, and on its stream.
  TaskContext context(node, node.stream, cancel_all_);
  running_task = &node;
  node.outcome = call(node, context);
  running_task = &outer;
  node.stamp(node.encoded);
  static_cast<void>(backend_->synchronize(node.stream, kNever));
  judge(node);
  backend_->clear_up_after(node.classes);
  node.completed = Clock::now();
  recorder_.ran(node.stream, node.classes.lane(), node.outcome, node.started - node.submitted,
                node.completed - node.started);
  end_nested_wait(outer);
  node.unwatch();
  node.phase.store(TaskNode::Phase::kEnded, std::memory_order_release);
  return node.outcome;
}

bool Core::help_or_prepare_wait(TaskNode& current, TaskNode& target) {
  Core& core = current.core;
  core.sort_inbox();
  const std::optional<OpClassSet> missing = current.classes.missing_for(target.classes);
  bool taken = false;
  {
    const std::lock_guard lock(core.queue_.mutex());
    if (target.linked && target.phase.load(std::memory_order_acquire) == TaskNode::Phase::kQueued) {
      if (missing && core.gate_.acquire_closed(*missing) != Gate::Refusal::kNone) {
        throw NestedWaitError(
            "a task of class " + std::string(to_string(current.classes)) +
            " waits for a queued one that needs a permit of class " +
            std::string(to_string(*missing)) +
            ", and none is free: waiting here could wait for ever. Use then() or co_await, or give "
            "the outer task both classes");
      }
      taken = core.queue_.take(target);
      if (!taken && missing) core.gate_.release(*missing);
    }
  }
  if (taken) {
    if (target.deadline != kNever && target.deadline <= Clock::now()) {
      if (missing) core.gate_.release(*missing);
      core.end_without_run(target, Outcome::kExpired);
    } else {
      static_cast<void>(core.run_nested(target, current));
      if (missing) core.gate_.release(*missing);
      core.publish(target);
    }
    core.after_release();
    return true;
  }
  // It runs, or has ended, or is being cancelled: it will be ready, unless it waits for us.
  const std::lock_guard lock(nested_mutex());
  for (const TaskNode* node = &target; node != nullptr; node = node->waits_for) {
    if (node == &current) {
      throw NestedWaitError(
          "a task waits for a task that waits for it, directly or through others; use then() or "
          "co_await for one of the two");
    }
  }
  current.waits_for = &target;
  return false;
}

void Core::end_nested_wait(TaskNode& current) noexcept {
  const std::lock_guard lock(nested_mutex());
  current.waits_for = nullptr;
}

}  // namespace streamgate::executor
