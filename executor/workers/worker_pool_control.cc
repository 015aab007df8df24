// SPDX-License-Identifier: Apache-2.0
//
// What happens to calls and workers beside the way of a call: cancelling, time limits, deaths, how
// many workers are wanted, and the end.
#include <streamgate/executor/workers/worker_pool.h>

#include <algorithm>
#include <utility>

namespace streamgate::executor {
namespace {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

/// A call that so many workers died with before they began it is in no luck; that it is its fault
/// cannot be seen, but it must end.
constexpr std::size_t kMostRequeues = 16;

template <typename Pointers>
void erase_pointer(Pointers& pointers, const Worker* worker) {
  std::erase_if(pointers, [&](const auto& each) { return each.get() == worker; });
}

}  // namespace

WorkerPool::WorkerPool(WorkerPoolOptions options)
    : options_(std::move(options)), supervisor_(options_.supervisor, *this) {
  supervisor_.want(options_.min_workers);
}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::stop() noexcept {
  EndedCalls ended;
  {
    const Lock lock(mutex_);
    stopped_ = true;
    for (WorkerCall* const call : queue_) {
      ended.push_back({call,
                       {.result = CallResult::kRefused,
                        .text = "the executor has ended",
                        .begun = call->begun_ > 0}});
    }
    queue_.clear();
  }
  complete(ended);
  supervisor_.stop();
}

bool WorkerPool::cancel(std::uint64_t number) {
  EndedCalls ended;
  bool found = false;
  TimePoint look = TimePoint::max();
  {
    const Lock lock(mutex_);
    const auto queued = std::find_if(queue_.begin(), queue_.end(), [&](const WorkerCall* call) {
      return call->number_ == number;
    });
    if (queued != queue_.end()) {
      ended.push_back(
          {*queued, {.result = CallResult::kCancelled, .begun = (*queued)->begun_ > 0}});
      queue_.erase(queued);
      found = true;
    }
    for (const auto& worker : workers_) {
      const Worker::Assignment& assignment = worker->assignment;
      if (assignment.call == nullptr || assignment.call->number_ != number) continue;
      leave(lock, *worker, Worker::Leave::kCancelled, Clock::now());
      look = assignment.kill_at;
      found = true;
    }
  }
  complete(ended);
  if (look != TimePoint::max()) supervisor_.wake_at(look);
  return found;
}

void WorkerPool::leave(const Lock&, Worker& worker, Worker::Leave why, TimePoint now) {
  Worker::Assignment& assignment = worker.assignment;
  if (assignment.leave != Worker::Leave::kNo) return;
  assignment.leave = why;
  if (!assignment.sent) return;  // Who encodes it will see.
  worker.channel.set_cancelled(assignment.call->number_);
  assignment.kill_at = now + options_.cancel_grace;
}

std::optional<WorkerPool::SharedBlock> WorkerPool::allocate(std::size_t bytes) {
  const Lock lock(mutex_);
  const auto from = [&](const std::shared_ptr<Worker>& worker) -> std::optional<SharedBlock> {
    std::optional<Block> block = worker->channel.allocate(bytes, TimePoint::min());
    if (!block) return std::nullopt;
    return SharedBlock{.block = std::move(*block), .worker = worker->number};
  };
  for (auto worker = idle_.rbegin(); worker != idle_.rend(); ++worker) {
    if (auto shared = from(*worker)) return shared;
  }
  for (const auto& worker : workers_) {
    if (worker->gone) continue;
    if (auto shared = from(worker)) return shared;
  }
  return std::nullopt;
}

WorkerLoad WorkerPool::load() const {
  const Lock lock(mutex_);
  return {.ready = workers_.size(), .idle = idle_.size(), .queued = queue_.size()};
}

WorkersSnapshot WorkerPool::snapshot() const {
  WorkersSnapshot snapshot;
  supervisor_.add_to(snapshot);
  const Lock lock(mutex_);
  snapshot.calls_queued = queue_.size();
  snapshot.calls_started = calls_started_;
  snapshot.calls_requeued = calls_requeued_;
  snapshot.calls_retried = calls_retried_;
  // The two were not looked at in one moment.
  std::size_t& idle = snapshot.states[static_cast<std::size_t>(WorkerState::kIdle)];
  const auto busy = static_cast<std::size_t>(std::count_if(
      workers_.begin(), workers_.end(),
      [](const auto& worker) { return worker->assignment.call != nullptr && !worker->gone; }));
  snapshot.states[static_cast<std::size_t>(WorkerState::kBusy)] = std::min(busy, idle);
  idle -= std::min(busy, idle);
  return snapshot;
}

void WorkerPool::update_wanted(const Lock&) noexcept {
  if (stopped_) return;
  const auto busy = static_cast<std::size_t>(std::count_if(
      workers_.begin(), workers_.end(),
      [](const auto& worker) { return worker->assignment.call != nullptr && !worker->gone; }));
  supervisor_.want(std::clamp(busy + queue_.size(), options_.min_workers, options_.max_workers));
}

bool WorkerPool::is_worn_out(const Worker& worker) const noexcept {
  if (options_.recycle_calls != 0 && worker.calls >= options_.recycle_calls) return true;
  const std::size_t first = worker.first_memory;
  return options_.recycle_growth != 0 && first != 0 &&
         worker.memory > first + options_.recycle_growth;
}

void WorkerPool::requeue(const Lock& lock, WorkerCall& call, EndedCalls& ended) {
  if (stopped_) {
    ended.push_back({&call,
                     {.result = CallResult::kRefused,
                      .text = "the executor has ended",
                      .begun = call.begun_ > 0}});
    return;
  }
  if (++call.requeued_ > kMostRequeues) {
    ended.push_back({&call,
                     {.result = CallResult::kRefused,
                      .text = std::to_string(kMostRequeues) +
                              " workers died before they began it; the last failure: " +
                              supervisor_.last_failure(),
                      .begun = call.begun_ > 0}});
    return;
  }
  ++calls_requeued_;
  queue_.push_front(&call);  // It has waited already.
  update_wanted(lock);
}

void WorkerPool::settle(const Lock& lock, Worker& worker, const WorkerEnd& end, EndedCalls& ended) {
  const Worker::Assignment assignment = worker.assignment;
  if (assignment.call == nullptr || !assignment.sent) return;
  worker.assignment = {};
  WorkerCall& call = *assignment.call;
  // What a worker that writes nonsense says of having begun is not believed.
  const bool begun = worker.channel.started() == call.number_ || end.cause == WorkerExit::kCorrupt;
  if (begun) ++call.begun_;
  CallEnd result{.text = end.evidence,
                 .begun = call.begun_ > 0,
                 .cause = end.cause,
                 .signal = end.process.signal};
  if (assignment.leave == Worker::Leave::kCancelled || end.cause == WorkerExit::kStopped) {
    result.result = CallResult::kCancelled;
  } else if (assignment.leave == Worker::Leave::kLate) {
    result.result = CallResult::kExpired;
  } else if (!begun) {
    return requeue(lock, call, ended);
  } else if (call.begun_ < call.options_.attempts && !stopped_) {
    ++calls_retried_;
    queue_.push_front(&call);
    return update_wanted(lock);
  } else {
    result.result = CallResult::kWorkerDied;
  }
  ended.push_back({&call, std::move(result)});
}

void WorkerPool::on_end(const std::shared_ptr<Worker>& worker, const WorkerEnd& end) noexcept {
  EndedCalls ended;
  {
    const Lock lock(mutex_);
    worker->gone = true;
    erase_pointer(idle_, worker.get());
    erase_pointer(workers_, worker.get());
    settle(lock, *worker, end, ended);
    update_wanted(lock);
  }
  complete(ended);
  pump();
}

TimePoint WorkerPool::look_at(const Lock& lock, const std::shared_ptr<Worker>& worker,
                              TimePoint now) {
  Worker::Assignment& assignment = worker->assignment;
  if (assignment.call == nullptr || !assignment.sent) return TimePoint::max();
  if (assignment.leave == Worker::Leave::kNo) {
    const std::uint64_t progress = worker->channel.progress();
    if (now >= assignment.run_until) {
      leave(lock, *worker, Worker::Leave::kLate, now);
    } else if (now >= assignment.hung_at && progress == assignment.progress) {
      leave(lock, *worker, Worker::Leave::kHung, now);
    } else if (now >= assignment.hung_at) {
      assignment.progress = progress;
      assignment.hung_at = now + options_.hang_after;
    }
    if (assignment.leave == Worker::Leave::kNo) {
      return std::min(assignment.run_until, assignment.hung_at);
    }
  }
  if (now < assignment.kill_at) return assignment.kill_at;
  switch (assignment.leave) {
    case Worker::Leave::kNo:
      break;
    case Worker::Leave::kCancelled:
      supervisor_.end(worker, WorkerExit::kCancelled, "its call was cancelled and did not end");
      break;
    case Worker::Leave::kLate:
      supervisor_.end(worker, WorkerExit::kHung, "its call passed its time to run");
      break;
    case Worker::Leave::kHung:
      supervisor_.end(
          worker, WorkerExit::kHung,
          "no progress in " + std::to_string(options_.hang_after.count()) + " ms or more");
      break;
  }
  return TimePoint::max();
}

TimePoint WorkerPool::on_tick(TimePoint now) noexcept {
  EndedCalls ended;
  TimePoint next = TimePoint::max();
  const bool out_of_service = supervisor_.is_out_of_service();
  const std::string last_failure = out_of_service ? supervisor_.last_failure() : std::string();
  {
    const Lock lock(mutex_);
    for (const auto& worker : workers_) next = std::min(next, look_at(lock, worker, now));
    std::erase_if(queue_, [&](WorkerCall* call) {
      CallEnd end{.begun = call->begun_ > 0};
      if (call->options_.start_by <= now) {
        end.result = CallResult::kExpired;
      } else if (out_of_service) {
        end.result = CallResult::kRefused;
        end.text = "too many workers died too fast; the last failure: " + last_failure;
      } else {
        next = std::min(next, call->options_.start_by);
        return false;
      }
      ended.push_back({call, std::move(end)});
      return true;
    });
    // The first of the idle ones was used longest ago.
    while (!idle_.empty() && workers_.size() > options_.min_workers) {
      const std::shared_ptr<Worker> worker = idle_.front();
      const TimePoint ends_at = worker->idle_since + options_.idle_after;
      if (now < ends_at) {
        next = std::min(next, ends_at);
        break;
      }
      worker->gone = true;
      idle_.erase(idle_.begin());
      erase_pointer(workers_, worker.get());
      update_wanted(lock);
      supervisor_.end(worker, WorkerExit::kIdle, "idle");
    }
  }
  complete(ended);
  return next;
}

}  // namespace streamgate::executor
