// SPDX-License-Identifier: Apache-2.0
//
// Sixteen clients of one executor with four workers that are killed, stopped and killed by what
// they run: every call has one end, which is right; what may be done once is done once; and
// afterwards nothing is left. How long and with which seed, the environment may say:
// STREAMGATE_CHAOS_SECONDS, STREAMGATE_CHAOS_SEED.
#include <streamgate/executor.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/chaos.h"
#include "../support/event.h"
#include "../support/executors.h"
#include "../support/held.h"
#include "module_files.h"
#include "random_values.h"
#include "test_operators.h"

namespace streamgate::executor {
namespace {

using namespace std::chrono_literals;
using c10::IValue;
using testing::difference;
using testing::eventually;
using testing::notes_in;
using Random = std::mt19937_64;

constexpr std::size_t kWorkers = 4;
constexpr std::size_t kClients = 16;

/// So many deaths that the pool is kept busy with them and not out of service: ten within 30 s
/// would stop all starts for as long (docs/workers.md), and these are eight of both kinds.
class Deaths {
 public:
  explicit Deaths(std::size_t at_once) : at_once_(at_once) {}

  [[nodiscard]] bool may_one_more() {
    const auto now = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    const auto earned = static_cast<std::size_t>((now - begun_) / kApart);
    if (taken_ >= at_once_ + earned) return false;
    ++taken_;
    return true;
  }

 private:
  static constexpr auto kApart = 11s;
  const std::size_t at_once_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::size_t taken_ = 0;
};

struct Tally {
  std::mutex mutex;
  std::map<std::string, std::size_t> ends;  ///< By operation and outcome.
  std::vector<std::string> wrong;
  Deaths by_calls{3};
  Deaths by_signals{1};
};

class Client {
 public:
  Client(Executor& executor, Tally& tally, testing::ModuleFiles& files, std::size_t number,
         std::uint64_t seed)
      : executor_(executor), tally_(tally), files_(files), number_(number), random_(seed) {}

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) one_call();
  }

 private:
  /// A call, and what it may come to.
  struct Plan {
    std::string operation;
    std::vector<IValue> inputs;
    std::optional<IValue> expected{};  ///< Nothing: it cannot end well.
    std::string note{};                ///< A file that has a byte for each time it was begun.
    std::size_t most_begun = 0;
    Place place = Place::kAnywhere;
    Repeat repeat = Repeat::kByOperation;
  };

  [[nodiscard]] Plan plan() {
    const auto rows = static_cast<std::int64_t>(1 + random_() % 64);
    const at::Tensor x = at::arange(rows * 32, at::kFloat).reshape({rows, 32}) / 7;
    const std::size_t kind = random_() % 16;
    if (kind < 6) return {.operation = "aten::neg", .inputs = {x}, .expected = at::neg(x)};
    if (kind < 10) {
      return {.operation = "aten::softmax.int", .inputs = {x, 1}, .expected = at::softmax(x, 1)};
    }
    const bool kills = kind >= 13 && tally_.by_calls.may_one_more();
    Plan plan{.operation = "streamgate_tests::noted",
              .inputs = {x, note()},
              .expected = x + 1,
              .most_begun = 1,
              .place = kind == 10 ? Place::kHere : Place::kWorker,
              .repeat = Repeat::kNever};
    plan.note = plan.inputs[1].toStringRef();
    if (kills && kind == 13) {
      plan.operation = "streamgate_tests::deadly_once";
      plan.most_begun = 3;
      plan.repeat = Repeat::kAllowed;
    } else if (kills) {
      plan.operation = "streamgate_tests::deadly";
      plan.inputs.emplace_back(
          std::array<std::int64_t, 3>{SIGSEGV, SIGABRT, SIGKILL}[random_() % 3]);
      plan.expected.reset();
    }
    return plan;
  }

  [[nodiscard]] std::string note() {
    return files_.write("note-" + std::to_string(number_) + "-" + std::to_string(++notes_), "")
        .string();
  }

  void one_call() {
    Plan plan = this->plan();
    const bool has_deadline = random_() % 8 == 0;
    const bool is_cancelled = random_() % 12 == 0;
    CallOptions options{.place = plan.place, .repeat = plan.repeat};
    if (has_deadline)
      options.deadline = Clock::now() + std::chrono::microseconds(random_() % 20'000);
    const Operation operation = executor_.operation(plan.operation);
    std::optional<Result<IValue>> result;
    std::string error;
    try {
      if (is_cancelled || random_() % 2 == 0) {
        auto future = executor_.call(operation, plan.inputs, options);
        if (is_cancelled) future.cancel();
        result = future.get();
      } else {
        result = executor_.run(operation, plan.inputs, options);
      }
    } catch (const std::exception& thrown) {
      error = thrown.what();
    }
    judge(plan, result, error, has_deadline, is_cancelled);
  }

  void judge(const Plan& plan, const std::optional<Result<IValue>>& result,
             const std::string& error, bool has_deadline, bool is_cancelled) {
    const Outcome outcome = result ? result->outcome() : Outcome::kFailed;
    std::string wrong;
    switch (outcome) {
      case Outcome::kOk:
        wrong = plan.expected ? difference(*plan.expected, result->value())
                              : "it cannot have ended well";
        break;
      case Outcome::kExpired:
        if (!has_deadline) wrong = "it had no deadline";
        break;
      case Outcome::kCancelled:
        if (!is_cancelled) wrong = "nobody cancelled it";
        break;
      case Outcome::kWorkerDied:
        if (result->evidence().empty()) wrong = "nothing says what it died of";
        break;
      default:
        wrong = std::string(to_string(outcome)) + " " + std::string(reason(outcome)) + ": " + error;
    }
    if (!plan.note.empty()) {
      const std::size_t begun = notes_in(plan.note);
      if (begun > plan.most_begun) wrong = "it was begun " + std::to_string(begun) + " times";
      if (outcome == Outcome::kOk && begun == 0) wrong = "it was not begun, and ended well";
      std::filesystem::remove(plan.note);
    }
    const std::lock_guard lock(tally_.mutex);
    ++tally_.ends[plan.operation + " " + std::string(to_string(outcome))];
    if (!wrong.empty()) tally_.wrong.push_back(plan.operation + ": " + wrong);
  }

  Executor& executor_;
  Tally& tally_;
  testing::ModuleFiles& files_;
  const std::size_t number_;
  Random random_;
  int notes_ = 0;
};

/// Kills, stops or pauses a worker, until the end.
void vandalise(const std::stop_token& stop, Tally& tally, std::uint64_t seed) {
  Random random(seed);
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(
        std::chrono::milliseconds(random() % 400));  // Its nature is chance.
    const std::vector<pid_t> workers = testing::children();
    if (workers.empty()) continue;
    const pid_t worker = workers[random() % workers.size()];
    if (random() % 3 == 0) {
      kill(worker, SIGSTOP);
      std::this_thread::sleep_for(5ms);
      kill(worker, SIGCONT);
    } else if (tally.by_signals.may_one_more()) {
      kill(worker, random() % 2 == 0 ? SIGKILL : SIGSTOP);  // The second hangs until it is killed.
    }
  }
}

Config config() {
  Config config;
  config.executor.backend = "cpu";
  config.executor.threads = 2;
  config.executor.allow_oversubscription = true;
  config.overflow.policy = "when_full";
  config.overflow.workers = config.overflow.min_workers = kWorkers;
  config.overflow.worker_command = STREAMGATE_CALLS_WORKER;
  config.overflow.arena_bytes = std::size_t{4} << 20;
  config.overflow.hang_timeout = 500ms;
  return testing::with_gate(config, OpClass::kRaw, 1, 1);
}

void run_chaos(std::chrono::seconds usual_time) {
  const auto [seed, time] = testing::plan_chaos(usual_time);
  testing::ModuleFiles files;
  {
    Config without = config();
    without.overflow.workers = 0;
    Executor first({.config = without});  // oneTBB keeps threads once it has them.
    ASSERT_TRUE(first.submit([] {}).get().ok());
  }
  const testing::Held before = testing::held();
  Tally tally;
  Snapshot end;
  {
    Executor executor({.config = config()});
    const auto ready = [&] {
      const auto& states = executor.snapshot().workers.states;
      return states[static_cast<std::size_t>(WorkerState::kIdle)];
    };
    ASSERT_TRUE(eventually([&] { return ready() == kWorkers; }));
    {
      std::vector<std::unique_ptr<Client>> clients;
      std::vector<std::jthread> threads;
      for (std::size_t i = 0; i < kClients; ++i) {
        clients.push_back(std::make_unique<Client>(executor, tally, files, i, seed + 1 + i));
        threads.emplace_back(
            [&client = *clients.back()](const std::stop_token& stop) { client.run(stop); });
      }
      threads.emplace_back(
          [&tally, seed = seed](const std::stop_token& stop) { vandalise(stop, tally, seed); });
      std::this_thread::sleep_for(time);
      for (std::jthread& thread : threads) thread.request_stop();
    }
    EXPECT_TRUE(eventually([&] { return ready() == kWorkers; })) << "they are made good";
    testing::drain_all(executor);
    end = executor.snapshot();
    EXPECT_EQ(end.overflow.away, 0U);
    EXPECT_TRUE(end.overflow.quarantined.empty() ||
                end.overflow.quarantined[0].operation == "streamgate_tests::deadly");
  }
  EXPECT_TRUE(eventually([&] { return testing::held() == before; }))
      << testing::held() << " after " << before;
  EXPECT_TRUE(std::filesystem::is_empty(files.folder())) << "a call was begun after it had ended";

  for (const auto& [what, count] : tally.ends) std::printf("  %-42s %zu\n", what.c_str(), count);
  EXPECT_GT(tally.ends["streamgate_tests::noted ok"], 10U)
      << "in the midst of it, calls got through";
  EXPECT_GT(end.workers.calls_started, 10U);
  for (std::size_t i = 0; i < std::min<std::size_t>(tally.wrong.size(), 20); ++i) {
    ADD_FAILURE() << tally.wrong[i];
  }
}

/// Under a sanitizer, whose suites have less time.
constexpr bool kSanitized = sizeof(STREAMGATE_TEST_SANITIZER) > 1;

TEST(CallsInChaos, SlowEveryCallHasOneRightEndAndNothingIsLeft) {
  run_chaos(kSanitized ? 5s : 15s);
}
TEST(CallsInChaos, LongEveryCallHasOneRightEndAndNothingIsLeft) { run_chaos(600s); }

}  // namespace
}  // namespace streamgate::executor
