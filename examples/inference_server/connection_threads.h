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
    bool room = false;
    {
      const std::lock_guard lock(mutex_);
      room = busy_ + accepted_.jobs.size() + 1 < threads_.size();
      (room ? accepted_ : refused_).jobs.push_back(std::move(job));
    }
    // One: hundreds that were woken for each connection would take the cores from those who serve.
    (room ? accepted_ : refused_).changed.notify_one();
    return static_cast<Enqueued>(true);
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    accepted_.changed.notify_all();
    refused_.changed.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  enum class Role : std::uint8_t { kServe, kRefuse };

  struct Queue {
    std::deque<Job> jobs;
    std::condition_variable changed;
  };

  void work(Queue& queue, Role role) {
    role_ = role;
    std::unique_lock lock(mutex_);
    for (;;) {
      queue.changed.wait(lock, [&] { return ends_ || !queue.jobs.empty(); });
      // What was taken in is ended, too: its socket must be closed.
      if (queue.jobs.empty()) return;
      Job job = std::move(queue.jobs.front());
      queue.jobs.pop_front();
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
  Queue accepted_;
  Queue refused_;
  std::size_t busy_ = 0;
  bool ends_ = false;
  std::vector<std::thread> threads_;  // Last: they use the others.
};

}  // namespace inference_server
