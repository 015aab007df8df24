// SPDX-License-Identifier: Apache-2.0
//
// Tracing: what is a trace context and what is not, and that an observer is told once of each task
// that it asked for, with its stages in their order, however the task ended.
#include <streamgate/executor.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"

namespace streamgate::executor {
namespace {

using testing::inline_config;
using testing::kGuard;

constexpr const char* kValid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
constexpr Clock::time_point kNever{};

TEST(TraceContext, OfAValidHeaderIsRoundTripped) {
  const auto context = TraceContext::parse(kValid);
  ASSERT_TRUE(context);
  EXPECT_EQ(context->trace_id[0], 0x0a);
  EXPECT_EQ(context->trace_id[15], 0x9c);
  EXPECT_EQ(context->parent_id[7], 0x31);
  EXPECT_TRUE(context->sampled());
  EXPECT_EQ(context->to_string(), kValid);
  std::string unsampled = kValid;
  unsampled.back() = '0';
  EXPECT_FALSE(TraceContext::parse(unsampled)->sampled());
}

TEST(TraceContext, OfALaterVersionTheKnownPartIsTaken) {
  std::string later = kValid;
  later[1] = '1';
  EXPECT_EQ(TraceContext::parse(later)->to_string(), kValid);
  EXPECT_TRUE(TraceContext::parse(later + "-what.is.new"));
  EXPECT_FALSE(TraceContext::parse(later + "what.is.new"));
}

TEST(TraceContext, IsNoneOfWhatTheSpecificationForbids) {
  const std::string valid = kValid;
  std::vector<std::string> wrong = {"",
                                    "00",
                                    valid + " ",
                                    " " + valid,
                                    valid + "-more",
                                    "ff" + valid.substr(2),
                                    valid.substr(0, 54)};
  for (std::size_t i = 0; i < valid.size(); ++i) {
    std::string one = valid;
    one[i] = 'g';
    wrong.push_back(one);
    one[i] = valid[i] == '-' ? '0' : '-';
    wrong.push_back(one);
    one[i] = '\0';
    wrong.push_back(one);
  }
  std::string upper = valid;
  upper[4] = 'A';
  wrong.push_back(upper);
  wrong.push_back("00-" + std::string(32, '0') + valid.substr(35));
  wrong.push_back(valid.substr(0, 36) + std::string(16, '0') + "-01");
  for (const std::string& text : wrong) EXPECT_FALSE(TraceContext::parse(text)) << text;
}

/// Keeps what it is told; a name is a literal.
class Records final : public TaskObserver {
 public:
  void on_task_end(const TaskRecord& task) noexcept override {
    const std::lock_guard lock(mutex_);
    records_.push_back(task);
    changed_.notify_all();
  }
  /// Blocks until there are so many, or the guard is over.
  [[nodiscard]] std::vector<TaskRecord> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    (void)changed_.wait_for(lock, kGuard, [&] { return records_.size() >= count; });
    return records_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TaskRecord> records_;
};

void expect_ran_in_order(const TaskRecord& task) {
  EXPECT_NE(task.submitted, kNever);
  EXPECT_LE(task.submitted, task.admitted);
  EXPECT_LE(task.admitted, task.started);
  EXPECT_LE(task.started, task.encoded);
  EXPECT_LE(task.encoded, task.completed);
}

void expect_never_began(const TaskRecord& task) {
  EXPECT_NE(task.submitted, kNever);
  EXPECT_EQ(task.started, kNever);
  EXPECT_EQ(task.encoded, kNever);
  EXPECT_LE(task.submitted, task.completed);
}

const std::optional<TraceContext> kTrace = TraceContext::parse(kValid);

TEST(Tracing, ATracedTaskIsToldOfOnceWithItsStagesInTheirOrder) {
  Records records;
  {
    Executor executor(ExecutorOptions{.config = inline_config(2), .observer = &records});
    ASSERT_TRUE(executor.submit({.name = "submitted", .trace = kTrace}, [] {}).get());
    ASSERT_TRUE(executor.run({.name = "run", .trace = kTrace}, [] {}));
    ASSERT_TRUE(executor.submit([] {}).get());
    ASSERT_TRUE(executor.run([] {}));
  }
  const auto told = records.wait_for(2);
  ASSERT_EQ(told.size(), 2U) << "those without a trace are nobody's business";
  EXPECT_EQ(told[0].name, "submitted");
  EXPECT_EQ(told[1].name, "run");
  for (const TaskRecord& task : told) {
    EXPECT_EQ(task.trace, kTrace);
    EXPECT_EQ(task.outcome, Outcome::kOk);
    EXPECT_FALSE(task.in_worker);
    expect_ran_in_order(task);
  }
}

TEST(Tracing, AllTasksAreToldOfWhenAllAreAskedFor) {
  Records records;
  {
    Executor executor(ExecutorOptions{
        .config = inline_config(2), .observer = &records, .observed = Observed::kAll});
    std::vector<Future<void>> futures;
    for (int i = 0; i < 500; ++i) futures.push_back(executor.submit([] {}));
    for (auto& future : futures) ASSERT_TRUE(future.get());
  }
  const auto told = records.wait_for(500);
  EXPECT_EQ(told.size(), 500U);
  for (const TaskRecord& task : told) {
    EXPECT_FALSE(task.trace);
    expect_ran_in_order(task);
  }
}

TEST(Tracing, ATaskSeesItsOwnTrace) {
  Executor executor(ExecutorOptions{.config = inline_config(1)});
  auto seen =
      executor.submit({.trace = kTrace}, [](TaskContext& context) { return context.trace(); });
  EXPECT_EQ(seen.get().value(), kTrace);
}

TEST(Tracing, EveryOutcomeIsToldOfOnce) {
  Records records;
  std::map<Outcome, int> expected;
  {
    auto config = inline_config(1);
    config.queue.max_tasks = 2;
    Executor executor(ExecutorOptions{.config = config, .observer = &records});
    testing::Event started;
    testing::Event release;
    const auto traced = [](Clock::time_point deadline = Clock::time_point::max()) {
      return TaskOptions{.deadline = deadline, .trace = kTrace};
    };
    auto running = executor.submit(traced(), [&] {
      started.set();
      ASSERT_TRUE(release.wait());
    });
    ASSERT_TRUE(started.wait());
    auto cancelled = executor.submit(traced(), [] {});
    auto expired = executor.submit(traced(Clock::now() + std::chrono::milliseconds(20)), [] {});
    EXPECT_EQ(executor.submit(traced(), [] {}).get().outcome(), Outcome::kQueueFull);
    EXPECT_EQ(expired.get().outcome(), Outcome::kExpired);
    cancelled.cancel();
    EXPECT_EQ(cancelled.get().outcome(), Outcome::kCancelled);
    release.set();
    EXPECT_TRUE(running.get());
    auto failed = executor.submit(traced(), [] { throw std::runtime_error("no"); });
    EXPECT_THROW((void)failed.get(), std::runtime_error);
    EXPECT_EQ(executor.run(traced(Clock::now() - kGuard), [] {}).outcome(), Outcome::kExpired);
    (void)executor.drain(Drain::kFinish, kGuard);
    EXPECT_EQ(executor.submit(traced(), [] {}).get().outcome(), Outcome::kShutdown);
    EXPECT_EQ(executor.run(traced(), [] {}).outcome(), Outcome::kShutdown);
  }
  expected = {{Outcome::kOk, 1},        {Outcome::kCancelled, 1}, {Outcome::kExpired, 2},
              {Outcome::kQueueFull, 1}, {Outcome::kFailed, 1},    {Outcome::kShutdown, 2}};
  std::map<Outcome, int> told;
  for (const TaskRecord& task : records.wait_for(8)) {
    ++told[task.outcome];
    if (task.outcome == Outcome::kOk || task.outcome == Outcome::kFailed) {
      expect_ran_in_order(task);
    } else {
      expect_never_began(task);
    }
  }
  EXPECT_EQ(told, expected);
}

TEST(Tracing, ANestedTaskIsToldOfToo) {
  Records records;
  {
    Executor executor(ExecutorOptions{.config = inline_config(1), .observer = &records});
    ASSERT_TRUE(
        executor
            .submit({.name = "outer", .trace = kTrace},
                    [&] { ASSERT_TRUE(executor.run({.name = "inner", .trace = kTrace}, [] {})); })
            .get());
  }
  const auto told = records.wait_for(2);
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[0].name, "inner");
  EXPECT_EQ(told[1].name, "outer");
  expect_ran_in_order(told[0]);
  expect_ran_in_order(told[1]);
}

TEST(Tracing, UnderLoadEachTaskIsToldOfExactlyOnce) {
  constexpr std::size_t kEach = 500;
  Records records;
  {
    Executor executor(ExecutorOptions{.config = inline_config(2), .observer = &records});
    std::vector<std::jthread> clients;
    for (int client = 0; client < 4; ++client) {
      clients.emplace_back([&, client] {
        for (std::size_t i = 0; i < kEach; ++i) {
          const TaskOptions options{.trace = kTrace};
          if (client % 2 == 0) {
            auto future = executor.submit(options, [] {});
            if (i % 3 == 0) future.cancel();
            (void)future.get();
          } else {
            (void)executor.run(options, [] {});
          }
        }
      });
    }
  }
  EXPECT_EQ(records.wait_for(4 * kEach).size(), 4 * kEach);
}

}  // namespace
}  // namespace streamgate::executor
