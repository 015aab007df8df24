// SPDX-License-Identifier: Apache-2.0
//
// The threads of the connections: one each, and one more that turns away whoever finds none free.
// cpp-httplib's own pool keeps them waiting, as many as come.
#pragma once

#include <httplib.h>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace inference_server {

/// Runs each job at once or, where no thread is free, on a thread that is to refuse it.
///
/// Thread-safety: thread-safe. Ownership: of its threads. Blocking: shutdown, until the jobs ended.
class ConnectionThreads final : public httplib::TaskQueue {
 public:
  using Job = std::function<void()>;

  explicit ConnectionThreads(std::size_t connections) {
    for (std::size_t i = 0; i < connections; ++i) {
      threads_.emplace_back([this] { work(accepted_, Role::kServe); });
    }
    threads_.emplace_back([this] { work(refused_, Role::kRefuse); });
  }

  /// Whether the job that runs on this thread is to be refused.
  [[nodiscard]] static bool refusing() noexcept { return role_ == Role::kRefuse; }

  // void in cpp-httplib 0.11 (Debian 12), bool in 0.18 (Debian 13).
  using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue(nullptr));
  Enqueued enqueue(Job job) override {
    {
      const std::lock_guard lock(mutex_);
      const bool room = busy_ + accepted_.size() + 1 < threads_.size();
      (room ? accepted_ : refused_).push_back(std::move(job));
    }
    changed_.notify_all();
    return static_cast<Enqueued>(true);
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  enum class Role : std::uint8_t { kServe, kRefuse };

  void work(std::deque<Job>& jobs, Role role) {
    role_ = role;
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return ends_ || !jobs.empty(); });
      // What was taken in is ended, too: its socket must be closed.
      if (jobs.empty()) return;
      Job job = std::move(jobs.front());
      jobs.pop_front();
      if (role == Role::kServe) ++busy_;
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
      if (role == Role::kServe) --busy_;
    }
  }

  inline static thread_local Role role_ = Role::kServe;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> accepted_;
  std::deque<Job> refused_;
  std::size_t busy_ = 0;
  bool ends_ = false;
  std::vector<std::thread> threads_;  // Last: they use the others.
};

}  // namespace inference_server
