// SPDX-License-Identifier: Apache-2.0
//
// Device time: a heap of when each running buffer will be done.
#include <streamgate/executor/backends/emulator/engine.h>

#include <streamgate/executor/internal/thread_name.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace streamgate::executor::metal {
namespace {

/// Kernels are computed by so many threads at most; waiting for device time needs none.
constexpr std::size_t kMostThreads = 2;

}  // namespace

Engine::Engine(const policies::FaultModel::Device& speed, EncoderCensus& census,
               std::function<void()> bind_thread)
    : speed_(speed), census_(census), bind_thread_(std::move(bind_thread)) {
  const std::size_t threads =
      std::min({kMostThreads, speed.parallel,
                std::max<std::size_t>(1, std::thread::hardware_concurrency())});
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { work(); });
  }
}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  threads_.clear();  // Joins them.
}

void Engine::commit(std::shared_ptr<CommandBuffer> buffer) {
  const std::lock_guard lock(mutex_);
  Stream& stream = buffer->stream_;
  if (std::exchange(stream.executing_, true)) {
    stream.waiting_.push_back(std::move(buffer));
    return;
  }
  if (!ready_.empty() || occupied_ == speed_.parallel || !buffer->scheduled_handlers_.empty()) {
    ready_.push_back(std::move(buffer));
    changed_.notify_one();
    return;
  }
  // The straight way: nobody has to be woken for a buffer that ends after others.
  ++occupied_;
  const CommandBuffer* const started = buffer.get();
  start(std::move(buffer));
  if (running_.front().buffer.get() == started) changed_.notify_one();
}

void Engine::work() {
  set_thread_name("sg-metal");
  if (bind_thread_) bind_thread_();
  std::unique_lock lock(mutex_);
  for (;;) {
    if (!ready_.empty() && occupied_ < speed_.parallel) {
      schedule(lock);
    } else if (!running_.empty() && (stopping_ || running_.front().end <= Clock::now())) {
      finish(lock);
    } else if (stopping_ && idle()) {
      return;
    } else if (!running_.empty()) {
      // A copy: wait_until looks at it again when it wakes, and the heap may have moved by then.
      const Clock::time_point end = running_.front().end;
      changed_.wait_until(lock, end);
    } else {
      ++without_deadline_;
      changed_.wait(lock);
      --without_deadline_;
    }
  }
}

void Engine::schedule(std::unique_lock<std::mutex>& lock) {
  std::shared_ptr<CommandBuffer> buffer = std::move(ready_.front());
  ready_.pop_front();
  ++occupied_;
  if (!buffer->scheduled_handlers_.empty()) {
    // Before the handlers, and not by start: they may look.
    buffer->state_.store(BufferState::kScheduled, std::memory_order_release);
    lock.unlock();
    for (const Handler& handler : buffer->scheduled_handlers_) handler();
    lock.lock();
  }
  start(std::move(buffer));
}

void Engine::start(std::shared_ptr<CommandBuffer> buffer) {
  // Release: pairs with state(); there is nothing to see yet but the state itself.
  buffer->state_.store(BufferState::kScheduled, std::memory_order_release);
  Clock::time_point end = Clock::now();
  if (!buffer->empty()) end += speed_.execute;
  running_.push_back({end, std::move(buffer)});
  std::push_heap(running_.begin(), running_.end(), Later{});
}

void Engine::finish(std::unique_lock<std::mutex>& lock) {
  std::pop_heap(running_.begin(), running_.end(), Later{});
  const std::shared_ptr<CommandBuffer> buffer = std::move(running_.back().buffer);
  running_.pop_back();
  // Another thread looks after the next one meanwhile.
  if (without_deadline_ != 0 && !(running_.empty() && ready_.empty())) changed_.notify_one();
  lock.unlock();
  buffer->execute();
  // Before anybody hears of it, as the next task may be encoding by then.
  census_.close(buffer->stream_, *buffer);
  buffer->complete();
  lock.lock();
  --occupied_;
  Stream& stream = buffer->stream_;
  stream.executing_ = !stream.waiting_.empty();
  if (stream.executing_) {
    ready_.push_back(std::move(stream.waiting_.front()));
    stream.waiting_.pop_front();
  }
  if (stopping_) changed_.notify_all();
}

}  // namespace streamgate::executor::metal
