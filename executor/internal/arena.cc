// SPDX-License-Identifier: Apache-2.0
//
// Tickets, and the workers' binding.
#include <streamgate/executor/internal/arena.h>

#include <streamgate/executor/internal/pause.h>
#include <streamgate/executor/internal/thread_name.h>

#include <oneapi/tbb/global_control.h>

#include <cassert>
#include <optional>
#include <string>

namespace streamgate::executor {
namespace {

using oneapi::tbb::global_control;

constexpr unsigned kSpins = 64;

/// TBB caps the workers of a process at one less than its cores, and the smallest global_control
/// in force wins. So all arenas of a process share one control of ours, made anew for their sum.
class WorkerBudget {
 public:
  static WorkerBudget& instance() {
    // Never destroyed: an executor may end during exit, after static destructors have begun.
    static auto* const budget = new WorkerBudget;
    return *budget;
  }

  /// Whether TBB's limit had to be raised for these.
  bool add(std::size_t workers) {
    const std::lock_guard lock(mutex_);
    workers_ += workers;
    return apply();
  }

  void remove(std::size_t workers) {
    const std::lock_guard lock(mutex_);
    workers_ -= workers;
    apply();
  }

 private:
  bool apply() {
    control_.reset();
    if (workers_ == 0) return false;
    const std::size_t needed = workers_ + 1;  // TBB counts the main thread, too.
    const bool short_of =
        global_control::active_value(global_control::max_allowed_parallelism) < needed;
    if (short_of) control_.emplace(global_control::max_allowed_parallelism, needed);
    return short_of;
  }

  std::mutex mutex_;
  std::size_t workers_ = 0;
  std::optional<global_control> control_;
};

}  // namespace

class Arena::Binder final : public oneapi::tbb::task_scheduler_observer {
 public:
  Binder(oneapi::tbb::task_arena& arena, Backend& backend)
      : oneapi::tbb::task_scheduler_observer(arena), backend_(backend) {
    complete_.store(true, std::memory_order_release);
    observe(true);
  }
  ~Binder() override {
    observe(false);
    // observe waits for workers that enter or leave, out of sight of ThreadSanitizer. Acquire: pairs
    // with the last act of both callbacks.
    static_cast<void>(callbacks_.load(std::memory_order_acquire));
  }
  Binder(const Binder&) = delete;
  Binder& operator=(const Binder&) = delete;

  void on_scheduler_entry(bool is_worker) override {
    // Acquire: pairs with the constructor's release. TBB orders the two as well, but out of sight
    // of ThreadSanitizer, as its library is not instrumented.
    if (!is_worker || !complete_.load(std::memory_order_acquire)) return;
    {
      const std::lock_guard lock(mutex_);
      ++inside_;
    }
    name_before() = thread_name();
    set_thread_name("sg-worker-" +
                    std::to_string(oneapi::tbb::this_task_arena::current_thread_index()));
    backend_.bind_worker();
    callbacks_.fetch_add(1, std::memory_order_release);
  }

  void on_scheduler_exit(bool is_worker) override {
    if (!is_worker) return;
    backend_.unbind_worker();
    set_thread_name(name_before());
    {
      const std::lock_guard lock(mutex_);
      --inside_;
      left_.notify_all();
    }
    callbacks_.fetch_add(1, std::memory_order_release);
  }

  /// Workers stay a moment after their last ticket; while observed, each is unbound as it leaves.
  void wait_left(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    left_.wait_until(lock, deadline, [&] { return inside_ == 0; });
  }

 private:
  static std::string& name_before() {
    thread_local std::string name;
    return name;
  }

  Backend& backend_;
  std::atomic<bool> complete_{false};
  std::atomic<std::uint32_t> callbacks_{0};
  std::mutex mutex_;
  std::condition_variable left_;
  std::size_t inside_ = 0;
};

Arena::Arena(std::size_t threads, Backend& backend, WorkSource& source)
    : threads_(threads),
      source_(source),
      raised_global_limit_(WorkerBudget::instance().add(threads)),
      // No slot is reserved for threads of the user's: they never join this arena.
      arena_(static_cast<int>(threads), 0) {
  assert(threads >= 1 && threads <= kTickets);
  arena_.initialize();
  binder_ = std::make_unique<Binder>(arena_, backend);
}

Arena::~Arena() {
  assert(tickets() == 0);
  constexpr std::chrono::seconds kLongEnoughForWorkersToLeave{2};
  binder_->wait_left(std::chrono::steady_clock::now() + kLongEnoughForWorkersToLeave);
  binder_.reset();
  arena_.terminate();
  WorkerBudget::instance().remove(threads_);
}

struct Arena::Ticket {
  Arena* arena;
  // Debian's libtbb is not instrumented, so ThreadSanitizer does not see that this object was handed
  // from the thread that enqueued it. It is to overlook the reading of this one pointer, and nothing
  // of what serve does; a suppression by name would need the writer's stack, which it forgets.
  __attribute__((no_sanitize("thread"))) void operator()() const noexcept { arena->serve(); }
};

bool Arena::call() noexcept {
  std::uint32_t state = state_.load(std::memory_order_seq_cst);
  for (;;) {
    const bool lingers = (state & kLingering) != 0;
    const bool free = (state & kTickets) < threads_;
    if ((lingers || !free) && (state & kAgain) != 0) return lingers;
    const std::uint32_t wanted = lingers || !free ? state | kAgain : state + 1;
    if (!state_.compare_exchange_weak(state, wanted, std::memory_order_seq_cst)) continue;
    if (lingers || !free) return lingers;
    arena_.enqueue(Ticket{this});
    return true;
  }
}

void Arena::serve() noexcept {
  // Acquire: pairs with call's compare-exchange; as in Binder, TBB's own hand-over cannot be seen.
  static_cast<void>(state_.load(std::memory_order_acquire));
  do {
    source_.work();
  } while (linger());
}

/// Whether to look for work again; false ends the ticket, and is the last touch of this arena.
bool Arena::linger() noexcept {
  state_.fetch_add(kOneLingers, std::memory_order_seq_cst);
  std::uint32_t state = state_.load(std::memory_order_seq_cst);
  for (unsigned spins = 0;;) {
    if ((state & kAgain) != 0) {
      const std::uint32_t back_to_work = (state - kOneLingers) & ~kAgain;
      if (state_.compare_exchange_weak(state, back_to_work, std::memory_order_seq_cst)) return true;
    } else if (spins < kSpins && (state & kStopping) == 0) {
      ++spins;
      pause();
      state = state_.load(std::memory_order_seq_cst);
    } else if ((state & kStopping) != 0) {
      // The one who waits may end this arena as soon as it has the lock.
      const std::lock_guard lock(mutex_);
      state_.fetch_sub(1 + kOneLingers, std::memory_order_seq_cst);
      left_.notify_all();
      return false;
    } else if (state_.compare_exchange_weak(state, state - 1 - kOneLingers,
                                            std::memory_order_seq_cst)) {
      return false;
    }
  }
}

bool Arena::wait_idle(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  ++waiting_;
  state_.fetch_or(kStopping, std::memory_order_seq_cst);
  const bool idle = left_.wait_until(lock, deadline, [&] { return tickets() == 0; });
  // Others may still wait for what only a ticket that sees the flag tells them.
  if (--waiting_ == 0) state_.fetch_and(~kStopping, std::memory_order_seq_cst);
  return idle;
}

}  // namespace streamgate::executor
