// SPDX-License-Identifier: Apache-2.0
#include "runner.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

namespace inference_server {
namespace {

/// How often a waiting request looks whether its client is still there.
constexpr std::chrono::milliseconds kLookEvery{100};

class ExecutorRunner final : public Runner {
 public:
  explicit ExecutorRunner(streamgate::Executor& executor) : executor_(executor) {}

  RunResult run(const Model& model, const std::vector<Tensor>& inputs, const RunOptions& options,
                const std::function<bool()>& gone) override {
    // On a worker and not, by Executor::run, on the connection's thread: there are many of those,
    // and libtorch keeps caches, and OpenMP a pool, for every thread that it has run on.
    auto future = executor_.submit({.op_class = model.op_class(),
                                    .priority = options.priority,
                                    .deadline = options.deadline,
                                    .cost_bytes = options.cost_bytes,
                                    .name = "infer",
                                    .trace = options.trace},
                                   [&] { return model.infer(inputs); });
    while (!future.wait_for(kLookEvery)) {
      if (gone()) future.cancel();
    }
    try {
      auto result = future.get();
      if (!result) return {.outcome = result.outcome()};
      return {.outputs = *std::move(result)};
    } catch (...) {
      return {.outcome = streamgate::Outcome::kFailed,
              .error = message_of(std::current_exception())};
    }
  }

 private:
  streamgate::Executor& executor_;
};

class PlainPoolRunner final : public Runner {
 public:
  explicit PlainPoolRunner(std::size_t threads) {
    for (std::size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { work(); });
    }
  }
  ~PlainPoolRunner() override {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  RunResult run(const Model& model, const std::vector<Tensor>& inputs, const RunOptions&,
                const std::function<bool()>&) override {
    std::packaged_task<std::vector<Tensor>()> task([&] { return model.infer(inputs); });
    std::future<std::vector<Tensor>> future = task.get_future();
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
    try {
      return {.outputs = future.get()};
    } catch (...) {
      return {.outcome = streamgate::Outcome::kFailed,
              .error = message_of(std::current_exception())};
    }
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ends_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<std::vector<Tensor>()>> tasks_;
  bool ends_ = false;
  std::vector<std::thread> threads_;  // Last: they use the others.
};

}  // namespace

std::unique_ptr<Runner> make_executor_runner(streamgate::Executor& executor) {
  return std::make_unique<ExecutorRunner>(executor);
}

std::unique_ptr<Runner> make_plain_pool_runner(std::size_t threads) {
  return std::make_unique<PlainPoolRunner>(threads);
}

}  // namespace inference_server
