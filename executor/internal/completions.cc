// SPDX-License-Identifier: Apache-2.0
//
// One list, and threads that take from it.
#include <streamgate/executor/internal/completions.h>

#include <streamgate/executor/internal/thread_name.h>

#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace streamgate::executor {

Completions::Completions(std::function<void()> look, std::chrono::milliseconds period)
    : look_(std::move(look)), period_(period) {
  const std::lock_guard lock(mutex_);
  start();
}

void Completions::await() noexcept {
  const std::lock_guard lock(mutex_);
  // Somebody who sleeps without end must begin to look now and then.
  if (++awaited_ == 1) arrived_.notify_one();
}

void Completions::forget() noexcept {
  const std::lock_guard lock(mutex_);
  --awaited_;
}

void Completions::hand_over(Entry& entry) noexcept {
  const std::lock_guard lock(mutex_);
  --awaited_;
  entry.next = nullptr;
  if (last_ == nullptr) {
    first_ = &entry;
  } else {
    last_->next = &entry;
  }
  last_ = &entry;
  arrived_.notify_one();
}

std::size_t Completions::threads() const noexcept {
  const std::lock_guard lock(mutex_);
  return threads_;
}

/// REQUIRES: the mutex is held.
void Completions::start() {
  std::thread([this, number = threads_] {
    set_thread_name("sg-done-" + std::to_string(number));
    run();
  }).detach();
  ++threads_;
}

void Completions::run() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    while (first_ == nullptr) {
      if (awaited_ == 0) {
        arrived_.wait(lock);
        continue;
      }
      static_cast<void>(arrived_.wait_for(lock, period_));
      const auto now = std::chrono::steady_clock::now();
      if (first_ != nullptr || awaited_ == 0 || now - looked_ < period_) continue;
      looked_ = now;
      lock.unlock();
      look_();
      lock.lock();
    }
    --idle_;
    Entry& entry = *first_;
    first_ = entry.next;
    if (first_ == nullptr) last_ = nullptr;
    StreamDone* const done = entry.done;
    if (idle_ == 0 && threads_ < kMostThreads) {
      try {
        start();
      } catch (const std::system_error&) {
        // This one goes on alone.
      }
    }
    lock.unlock();
    // From here on the entry is its owner's again, who may hand it over anew.
    done->on_stream_done();
    lock.lock();
  }
}

}  // namespace streamgate::executor
