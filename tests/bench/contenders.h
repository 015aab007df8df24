// SPDX-License-Identifier: Apache-2.0
//
// What people would write instead of an executor, and the executor, behind one interface.
#pragma once

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <streamgate/executor.h>
#include <streamgate/metrics/endpoint.h>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <cstddef>
#include <future>
#include <memory>
#include <thread>
#include <type_traits>
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

/// Ours, on the backend without a device: gate, queue, streams, counters and stamps as in service.
class Streamgate {
 public:
  explicit Streamgate(std::size_t threads);
  template <typename F>
  auto submit(F&& callable) {
    return executor_.submit(std::forward<F>(callable));
  }
  [[nodiscard]] Executor& executor() noexcept { return executor_; }

 private:
  Executor executor_;
};

/// The same, scraped over HTTP ten times a second, 150 times as often as Prometheus does by
/// default.
class ScrapedStreamgate : public Streamgate {
 public:
  explicit ScrapedStreamgate(std::size_t threads);
  ~ScrapedStreamgate();
  ScrapedStreamgate(const ScrapedStreamgate&) = delete;
  ScrapedStreamgate& operator=(const ScrapedStreamgate&) = delete;

 private:
  metrics::Endpoint endpoint_;
  std::jthread scraper_;
};

}  // namespace streamgate::bench
