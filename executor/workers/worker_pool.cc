// SPDX-License-Identifier: Apache-2.0
//
// The way of one call: submit, assign, dispatch, on_message. What happens beside it, to cancel, to
// time out, to survive deaths, is in worker_pool_control.cc.
#include <streamgate/executor/workers/worker_pool.h>

#include <streamgate/executor/workers/protocol.h>

#include <algorithm>
#include <utility>

namespace streamgate::executor {
namespace {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

/// now + time, without passing the end of time.
TimePoint after(TimePoint now, std::chrono::nanoseconds time) {
  return time >= TimePoint::max() - now ? TimePoint::max() : now + time;
}

std::optional<CallResult> result_of(const ChannelMessage& message) {
  switch (static_cast<MessageKind>(message.kind)) {
    case MessageKind::kDone:
      return message.detail <= 1 ? std::optional(CallResult::kDone) : std::nullopt;
    case MessageKind::kFailed:
      return CallResult::kFailed;
    case MessageKind::kCancelled:
      return CallResult::kCancelled;
    case MessageKind::kExpired:
      return CallResult::kExpired;
    default:
      return std::nullopt;
  }
}

}  // namespace

void WorkerPool::complete(EndedCalls& ended) noexcept {
  for (Ended& each : ended) each.call->complete(std::move(each.end));
  ended.clear();
}

std::uint64_t WorkerPool::submit(WorkerCall& call, const WorkerCallOptions& options) {
  std::shared_ptr<Worker> worker;
  EndedCalls ended;
  std::uint64_t number = 0;
  {
    const Lock lock(mutex_);
    number = ++last_number_;
    call.number_ = number;
    call.options_ = options;
    call.begun_ = 0;
    call.requeued_ = 0;
    if (stopped_) {
      ended.push_back({&call, {.result = CallResult::kRefused, .text = "the executor has ended"}});
    } else if (!idle_.empty()) {
      // The preferred one, if it is idle; else the one that was at work last.
      auto chosen = std::find_if(idle_.begin(), idle_.end(), [&](const auto& each) {
        return each->number == options.prefer_worker;
      });
      if (chosen == idle_.end()) chosen = std::prev(idle_.end());
      worker = std::move(*chosen);
      idle_.erase(chosen);
      assign(lock, *worker, call);
    } else if (queue_.size() >= options_.max_queued) {
      ended.push_back({&call, {.result = CallResult::kRefused, .text = "too many calls wait"}});
    } else {
      queue_.push_back(&call);
    }
    if (!worker && ended.empty()) update_wanted(lock);
  }
  if (worker && options.attended) {
    worker->turn.take_over();
    if (dispatch(worker, &call)) call.attended_ = std::move(worker);
  } else if (worker) {
    dispatch(worker);
  } else if (ended.empty()) {
    if (options.start_by != TimePoint::max()) supervisor_.wake_at(options.start_by);
    // Where no worker can be had, nobody else would notice that this call waits.
    if (supervisor_.is_out_of_service()) supervisor_.wake_at(TimePoint::min());
  }
  complete(ended);
  return number;
}

void WorkerPool::attend(WorkerCall& call) noexcept {
  const std::shared_ptr<Worker> worker = std::move(call.attended_);
  if (!worker) return;
  const Received received = worker->turn.receive_answer();
  if (received.status == ChannelStatus::kDone) on_message(worker, received.message);
}

void WorkerPool::assign(const Lock&, Worker& worker, WorkerCall& call) {
  worker.assignment = {};
  worker.assignment.call = &call;
}

WorkerCall* WorkerPool::take_queued(const Lock&, TimePoint now, EndedCalls& ended) {
  while (!queue_.empty()) {
    WorkerCall* const call = queue_.front();
    queue_.pop_front();
    if (call->options_.start_by > now) return call;
    ended.push_back({call, {.result = CallResult::kExpired, .begun = call->begun_ > 0}});
  }
  return nullptr;
}

bool WorkerPool::release(const Lock& lock, const std::shared_ptr<Worker>& worker,
                         EndedCalls& ended) {
  worker->assignment = {};
  if (worker->gone) return false;
  if (stopped_) return false;
  if (is_worn_out(*worker)) {
    worker->gone = true;
    supervisor_.end(worker, WorkerExit::kRecycled, "recycled");
    update_wanted(lock);
    return false;
  }
  const TimePoint now = Clock::now();
  if (WorkerCall* const next = take_queued(lock, now, ended)) {
    assign(lock, *worker, *next);
    return true;
  }
  worker->idle_since = now;
  idle_.push_back(worker);
  if (workers_.size() > options_.min_workers) {
    supervisor_.wake_at(after(now, options_.idle_after));
  }
  return false;
}

bool WorkerPool::dispatch(const std::shared_ptr<Worker>& worker,
                          const WorkerCall* attended) noexcept {
  EndedCalls ended;
  bool attended_was_sent = false;
  bool again = true;
  while (again) {
    again = false;
    // Until it is sent nobody else touches the assignment, but to say that the call is cancelled.
    WorkerCall& call = *worker->assignment.call;
    BlockReference request;
    bool worker_is_lost = false;
    std::optional<std::string> failure;
    try {
      request = call.encode(worker->channel);
    } catch (const ChannelError&) {
      worker_is_lost = true;
    } catch (const std::exception& error) {
      failure = error.what();
    } catch (...) {
      failure = "writing the request threw something that is no std::exception";
    }

    ChannelMessage message{.call = call.number_,
                           .kind = static_cast<std::uint32_t>(MessageKind::kCall),
                           .block = request};
    TimePoint look = TimePoint::max();
    {
      const Lock lock(mutex_);
      Worker::Assignment& assignment = worker->assignment;
      const bool not_sent = failure || assignment.leave == Worker::Leave::kCancelled ||
                            worker_is_lost || worker->gone;
      // Before it can be answered, and while nobody else can have this worker.
      if (not_sent || &call != attended) worker->turn.give_back();
      if (not_sent) {
        if (!failure && !worker_is_lost) call.not_sent(worker->channel);
        if (failure) {
          ended.push_back({&call, {.result = CallResult::kFailed, .text = *failure}});
        } else if (assignment.leave == Worker::Leave::kCancelled) {
          ended.push_back({&call, {.result = CallResult::kCancelled}});
        } else {
          requeue(lock, call, ended);
        }
        if (worker_is_lost) {
          worker->gone = true;
          supervisor_.end(worker, WorkerExit::kCorrupt, "no request can be written for it");
        }
        again = release(lock, worker, ended);
      } else {
        const TimePoint now = Clock::now();
        const std::chrono::nanoseconds run_for =
            call.options_.run_for.count() != 0 ? call.options_.run_for : options_.run_for;
        if (run_for.count() != 0) assignment.run_until = after(now, run_for);
        assignment.hung_at = after(now, options_.hang_after);
        assignment.progress = worker->channel.progress();
        assignment.sent = true;
        call.sent();
        if (call.options_.start_by != TimePoint::max()) {
          message.argument =
              static_cast<std::uint64_t>(call.options_.start_by.time_since_epoch().count());
        }
        ++calls_started_;
        look = std::min(assignment.run_until, assignment.hung_at);
        attended_was_sent = attended_was_sent || &call == attended;
      }
    }
    if (look != TimePoint::max()) {
      // The ring has room for a call. From here on the call is no longer ours: if the worker is
      // gone by now, the thread that listens to it sees that the call was sent, and decides.
      static_cast<void>(worker->channel.send(message, Clock::now()));
      supervisor_.wake_at(look);
    }
  }
  complete(ended);
  pump();
  return attended_was_sent;
}

void WorkerPool::pump() noexcept {
  for (;;) {
    EndedCalls ended;
    std::shared_ptr<Worker> worker;
    {
      const Lock lock(mutex_);
      if (stopped_ || idle_.empty() || queue_.empty()) return;
      if (WorkerCall* const call = take_queued(lock, Clock::now(), ended)) {
        worker = std::move(idle_.back());
        idle_.pop_back();
        assign(lock, *worker, *call);
      }
    }
    complete(ended);
    if (worker) dispatch(worker);
  }
}

void WorkerPool::on_ready(const std::shared_ptr<Worker>& worker) noexcept {
  EndedCalls ended;
  bool assigned = false;
  {
    const Lock lock(mutex_);
    workers_.push_back(worker);
    assigned = release(lock, worker, ended);
  }
  if (assigned) dispatch(worker);
  complete(ended);
}

void WorkerPool::on_message(const std::shared_ptr<Worker>& worker,
                            const ChannelMessage& message) noexcept {
  const std::optional<CallResult> result = result_of(message);
  Block block;
  try {
    block = worker->channel.map(message.block);
  } catch (const ChannelError&) {
    return;  // The channel has ended, and with it the worker; on_end settles the call.
  }
  EndedCalls ended;
  bool assigned = false;
  {
    const Lock lock(mutex_);
    const Worker::Assignment assignment = worker->assignment;
    if (!result || assignment.call == nullptr || !assignment.sent ||
        assignment.call->number_ != message.call) {
      return worker->channel.close(ChannelEnd::kBadMessage);
    }
    const bool began_now = worker->channel.started() == message.call;
    CallEnd end{.result = *result, .begun = began_now || assignment.call->begun_ > 0};
    if (*result == CallResult::kDone) {
      end.channel = &worker->channel;
      end.first_runs = message.detail == 1;
      end.response = std::move(block);
    } else if (block) {
      end.text.assign(reinterpret_cast<const char*>(block.data()), block.bytes());
    }
    bool again = false;
    if (*result == CallResult::kCancelled && assignment.leave == Worker::Leave::kLate) {
      end.result = CallResult::kExpired;
    } else if (*result == CallResult::kCancelled && assignment.leave == Worker::Leave::kHung) {
      // It was slow and not hung; nobody has asked for an end of the call.
      again = !began_now;
      end.result = CallResult::kWorkerDied;
      end.cause = WorkerExit::kHung;
      end.text = "the worker showed no progress, and left the call when it was told to";
    }
    ++worker->calls;
    if (again) {
      requeue(lock, *assignment.call, ended);
    } else {
      ended.push_back({assignment.call, std::move(end)});
    }
    assigned = release(lock, worker, ended);
  }
  supervisor_.served();
  // First the worker's next call, then what is made of this answer: the processes are what is
  // scarce.
  if (assigned) dispatch(worker);
  complete(ended);
}

}  // namespace streamgate::executor
