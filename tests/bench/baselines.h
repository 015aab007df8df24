// SPDX-License-Identifier: Apache-2.0
//
// What people would write instead of an executor, behind one interface, to be measured beside it.
#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <streamgate/executor.h>

#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <utility>

namespace streamgate::bench {

/// oneTBB's enqueue with a std::packaged_task for the future.
class TbbPool {
 public:
  explicit TbbPool(std::size_t threads)
      : control_(oneapi::tbb::global_control::max_allowed_parallelism, threads + 1),
        arena_(static_cast<int>(threads), 0) {
    arena_.initialize();
  }
  template <typename F>
  auto submit(F&& callable) {
    using T = std::invoke_result_t<F&>;
    // TBB's functors are const and copied, hence the shared_ptr.
    auto task = std::make_shared<std::packaged_task<T()>>(std::forward<F>(callable));
    auto future = task->get_future();
    arena_.enqueue([task] { (*task)(); });
    return future;
  }

 private:
  oneapi::tbb::global_control control_;
  oneapi::tbb::task_arena arena_;
};

/// boost::asio::thread_pool with a std::packaged_task for the future.
class AsioPool {
 public:
  explicit AsioPool(std::size_t threads) : pool_(threads) {}
  ~AsioPool() { pool_.join(); }
  template <typename F>
  auto submit(F&& callable) {
    using T = std::invoke_result_t<F&>;
    std::packaged_task<T()> task(std::forward<F>(callable));
    auto future = task.get_future();
    boost::asio::post(pool_, std::move(task));
    return future;
  }

 private:
  boost::asio::thread_pool pool_;
};

/// Ours, on the backend without a device: gate, queue, streams and metrics as in service.
class Streamgate {
 public:
  enum class Metrics { kOn, kOff };
  explicit Streamgate(std::size_t threads, Metrics metrics = Metrics::kOn)
      : executor_(std::make_unique<Executor>(options(threads, metrics))) {}
  template <typename F>
  auto submit(F&& callable) {
    return executor_->submit(std::forward<F>(callable));
  }
  [[nodiscard]] Executor& executor() noexcept { return *executor_; }

 private:
  static ExecutorOptions options(std::size_t threads, Metrics metrics);
  std::unique_ptr<Executor> executor_;
};

}  // namespace streamgate::bench
