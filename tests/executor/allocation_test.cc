// SPDX-License-Identifier: Apache-2.0
//
// One allocation a task: callable, state and result together. Counts by replacing operator new,
// hence an executable of its own.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "../support/executors.h"

namespace {

std::atomic<std::uint64_t> allocations{0};

void* allocate(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* const memory = alignment > alignof(std::max_align_t)
                           ? std::aligned_alloc(alignment, rounded)
                           : std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace streamgate::executor {
namespace {

using testing::inline_config;

constexpr std::uint64_t kTasks = 1'000;

/// Allocations, on all threads, while `work` runs.
template <typename Work>
std::uint64_t allocations_of(Work work) {
  const std::uint64_t before = allocations.load();
  work();
  return allocations.load() - before;
}

/// The executor's threads and TBB's pools are there after this.
void warm_up(Executor& executor) {
  for (std::uint64_t i = 0; i < kTasks; ++i) {
    ASSERT_TRUE(executor.submit([] {}).get());
    ASSERT_TRUE(executor.run([] {}));
  }
}

TEST(Allocations, ASubmittedTaskIsOne) {
  Executor executor(ExecutorOptions{.config = inline_config(2)});
  warm_up(executor);
  std::uint64_t sum = 0;
  EXPECT_EQ(allocations_of([&] {
              for (std::uint64_t i = 0; i < kTasks; ++i) {
                sum += executor.submit([i] { return i; }).get().value();
              }
            }),
            kTasks);
  EXPECT_EQ(sum, kTasks * (kTasks - 1) / 2);
}

TEST(Allocations, ABatchOfTasksIsOneEach) {
  Executor executor(ExecutorOptions{.config = inline_config(2)});
  warm_up(executor);
  std::vector<Future<void>> futures(kTasks);
  EXPECT_EQ(allocations_of([&] {
              for (auto& future : futures) future = executor.submit([] {});
              for (auto& future : futures) ASSERT_TRUE(future.get());
            }),
            kTasks);
}

TEST(Allocations, OptionsAddNone) {
  Executor executor(ExecutorOptions{.config = inline_config(2)});
  warm_up(executor);
  std::stop_source stop;
  EXPECT_EQ(allocations_of([&] {
              for (std::uint64_t i = 0; i < kTasks; ++i) {
                ASSERT_TRUE(executor
                                .submit({.op_class = OpClass::kKernel | OpClass::kGraph,
                                         .priority = Priority::kHigh,
                                         .deadline = Clock::now() + testing::kGuard,
                                         .stop = stop.get_token(),
                                         .cost_bytes = 10,
                                         .name = "named"},
                                        [] {})
                                .get());
              }
            }),
            kTasks);
}

TEST(Allocations, RunNeedsNone) {
  Executor executor(ExecutorOptions{.config = inline_config(2)});
  warm_up(executor);
  std::stop_source stop;
  EXPECT_EQ(allocations_of([&] {
              for (std::uint64_t i = 0; i < kTasks; ++i) {
                ASSERT_TRUE(executor.run({.stop = stop.get_token()}, [] {}));
              }
            }),
            0U);
}

TEST(Allocations, TracingAddsNone) {
  struct Count final : TaskObserver {
    void on_task_end(const TaskRecord&) noexcept override { ++told; }
    std::atomic<std::uint64_t> told{0};
  } count;
  Executor executor(ExecutorOptions{.config = inline_config(2), .observer = &count});
  warm_up(executor);
  const auto trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  ASSERT_TRUE(trace);
  EXPECT_EQ(allocations_of([&] {
              for (std::uint64_t i = 0; i < kTasks; ++i) {
                ASSERT_TRUE(executor.submit({.trace = trace}, [] {}).get());
                ASSERT_TRUE(executor.run({.trace = trace}, [] {}));
              }
            }),
            kTasks);
  EXPECT_EQ(count.told, 2 * kTasks);
}

TEST(Allocations, ACallersTurnInTheQueueNeedsNone) {
  Executor executor(ExecutorOptions{.config = inline_config(1)});
  warm_up(executor);
  // Whenever the worker is busy, the caller waits in the queue.
  std::vector<Future<void>> futures(kTasks);
  const std::uint64_t counted = allocations_of([&] {
    for (auto& future : futures) {
      future = executor.submit([] {});
      ASSERT_TRUE(executor.run([] {}));
    }
    for (auto& future : futures) ASSERT_TRUE(future.get());
  });
  EXPECT_EQ(counted, kTasks);
}

TEST(Allocations, AContinuationIsOne) {
  Executor executor(ExecutorOptions{.config = inline_config(2)});
  warm_up(executor);
  EXPECT_EQ(allocations_of([&] {
              for (std::uint64_t i = 0; i < kTasks; ++i) {
                auto next = executor.submit([] {}).then([](Result<void>) { return 1; });
                ASSERT_EQ(next.get().value(), 1);
              }
            }),
            2 * kTasks);
}

}  // namespace
}  // namespace streamgate::executor
