// SPDX-License-Identifier: Apache-2.0
//
// From a config to an executor, and from one config to the next while it works.
#include <streamgate/executor.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "../support/cores.h"
#include "../support/event.h"
#include "../support/executors.h"
#include "../support/messages.h"

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::LimitPolicy;
using policies::LimitPolicyOptions;
using policies::Observation;
using policies::WhenFull;
using testing::Blocker;
using testing::Countdown;
using testing::drain_all;
using testing::eventually;
using testing::expect_named;
using testing::inline_config;
using testing::kGuard;
using testing::with_gate;

using Names = std::vector<std::string_view>;


/// What the constructor says of such a config; empty when it is accepted.
std::string refusal_of(const Config& config) {
  try {
    const Executor executor(ExecutorOptions{.config = config});
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

/// A file of this test's, removed at its end.
class ConfigFile {
 public:
  explicit ConfigFile(std::string_view toml) { write(toml); }
  ~ConfigFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  ConfigFile(const ConfigFile&) = delete;
  ConfigFile& operator=(const ConfigFile&) = delete;
  void write(std::string_view toml) const { std::ofstream(path_, std::ios::trunc) << toml; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() /
      ("streamgate_" +
       std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + "_" +
       std::to_string(::getpid()) + ".toml");
};

// ---- what cannot be ----

TEST(ExecutorConfig, ThreadsTimesIntraOpThreadsBeyondTheCoresIsRefusedUnlessAllowed) {
  Config config = inline_config(testing::cores());
  config.executor.intra_op_threads = 2;
  expect_named(refusal_of(config),
               {"executor.threads = " + std::to_string(testing::cores()), "executor.intra_op_threads = 2",
                std::to_string(2 * testing::cores()), "executor.allow_oversubscription = true"});
  config.executor.allow_oversubscription = true;
  EXPECT_EQ(refusal_of(config), "");
  EXPECT_EQ(Executor({.config = config}).snapshot().arena.intra_op_threads, 2U);
}

TEST(ExecutorConfig, AutomaticThreadsFillTheCoresAndNoMore) {
  Config config = inline_config(0);
  const Config automatic = Executor({.config = config}).config();
  EXPECT_EQ(automatic.executor.threads, testing::cores());
  EXPECT_EQ(automatic.executor.intra_op_threads, 1U);
  config.executor.intra_op_threads = testing::cores();
  EXPECT_EQ(Executor({.config = config}).config().executor.threads, 1U);
  config = inline_config(1);
  EXPECT_EQ(Executor({.config = config}).config().executor.intra_op_threads, testing::cores());
}

TEST(ExecutorConfig, MoreWorkersThanCoresHaveOneThreadEach) {
  const Config config = inline_config(testing::cores() + 3);
  EXPECT_EQ(refusal_of(config), "")
      << "workers may wait on a device; only their product is refused";
  EXPECT_EQ(Executor({.config = config}).config().executor.intra_op_threads, 1U);
}

TEST(ExecutorConfig, LimitAboveItsCeilingIsRefusedWithBothKeys) {
  expect_named(refusal_of(with_gate(inline_config(1), OpClass::kGraph, 5, 4)),
               {"gate.graph.limit = 5", "4", "gate.graph.ceiling"});
  expect_named(refusal_of(with_gate(inline_config(1), OpClass::kKernel, 2, 0)),
               {"gate.kernel.limit = 2", "1", "gate.kernel.ceiling"});
}

TEST(ExecutorConfig, CeilingThatNoGateHasIsRefused) {
  expect_named(refusal_of(with_gate(inline_config(1), OpClass::kRaw, 1, 5'000)),
               {"raw", "1..1023"});
}

TEST(ExecutorConfig, NumberOfStreamsThatNoPoolHasIsRefused) {
  for (const std::size_t streams : {0U, 65U}) {
    Config config = inline_config(1);
    config.executor.streams = streams;
    expect_named(refusal_of(config), {"executor.streams = " + std::to_string(streams), "1..64"});
  }
  Config config = inline_config(1);
  config.executor.streams = 64;
  EXPECT_EQ(refusal_of(config), "");
}

TEST(ExecutorConfig, UnknownBackendIsRefusedWithThoseThatThereAre) {
  Config config = inline_config(1);
  config.executor.backend = "abacus";
  const std::string text = refusal_of(config);
  expect_named(text, {"abacus"});
  const std::vector<std::string_view> all = backends();
  for (const std::string_view known : all) expect_named(text, {known});
  EXPECT_NE(std::count(all.begin(), all.end(), "inline"), 0);
}

TEST(ExecutorConfig, UnknownLimitPolicyIsRefused) {
  Config config = inline_config(1);
  config.gates[0].policy = "crystal_ball";
  expect_named(refusal_of(config), {"crystal_ball", "fixed"});
}

TEST(ExecutorConfig, AdaptsItsLimitsUnlessToldOtherwise) {
  Config config;
  config.executor.backend = "inline";
  for (const GateSnapshot& gate : Executor({.config = config}).snapshot().gates) {
    EXPECT_EQ(gate.policy, "knee");
    EXPECT_TRUE(gate.enforced);
  }
}

TEST(ExecutorConfig, UnmeasuredClassesAreOneWide) {
  const Snapshot snapshot = Executor({.config = inline_config(2)}).snapshot();
  EXPECT_EQ(snapshot.gates[index_of(OpClass::kRaw)].limit, 2U) << "as many as workers";
  EXPECT_EQ(snapshot.gates[index_of(OpClass::kRaw)].ceiling, 32U) << "as many as streams";
  for (const OpClass c : {OpClass::kKernel, OpClass::kGraph, OpClass::kExclusive}) {
    EXPECT_EQ(snapshot.gates[index_of(c)].limit, 1U);
    EXPECT_EQ(snapshot.gates[index_of(c)].ceiling, 1U);
    EXPECT_EQ(snapshot.gates[index_of(c)].policy, "fixed");
  }
}

// ---- files ----

TEST(ExecutorConfig, IsReadFromAFile) {
  const ConfigFile file("[executor]\nbackend = 'inline'\nthreads = 3\n[gate.raw]\nlimit = 2\n");
  Executor executor(file.path());
  EXPECT_EQ(executor.snapshot().arena.threads, 3U);
  EXPECT_EQ(executor.snapshot().gates[0].limit, 2U);
  EXPECT_EQ(executor.submit([] { return 1; }).get().value(), 1);
}

TEST(ExecutorConfig, AbsentOrBrokenFileIsNoExecutor) {
  EXPECT_THROW(Executor(std::filesystem::path("/nowhere/streamgate.toml")), ConfigError);
  for (const char* const broken : {"[executor\n", "[gate.raw]\nlimit = -1\n",
                                   "[executor]\ncolour = 'red'\n", "[executor]\nstreams = 65\n"}) {
    const ConfigFile file(broken);
    EXPECT_THROW(Executor executor(file.path()), ConfigError) << broken;
  }
}

// ---- limit policies ----

struct PolicyLog {
  std::mutex mutex;
  std::vector<Observation> observations;
  std::atomic<std::size_t> answer{0};
};

class TestPolicy final : public LimitPolicy {
 public:
  TestPolicy(std::size_t initial, std::shared_ptr<PolicyLog> log)
      : initial_(initial), log_(std::move(log)) {}
  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return true; }
  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    const std::lock_guard lock(log_->mutex);
    log_->observations.push_back(observation);
    const std::size_t answer = log_->answer.load();
    return answer == 0 ? std::nullopt : std::optional(answer);
  }

 private:
  std::size_t initial_;
  std::shared_ptr<PolicyLog> log_;
};

TEST(ExecutorPolicy, SeesEveryCompletionOfItsClass) {
  auto log = std::make_shared<PolicyLog>();
  std::vector<LimitPolicyOptions> made;
  ExecutorOptions options{.config = with_gate(inline_config(2), OpClass::kGraph, 2, 4)};
  options.limit_policy = [&](OpClass c, const LimitPolicyOptions& wanted) {
    made.push_back(wanted);
    if (c != OpClass::kGraph) return policies::make_limit_policy(wanted);
    return std::unique_ptr<LimitPolicy>(std::make_unique<TestPolicy>(wanted.initial, log));
  };
  Executor executor(std::move(options));
  ASSERT_EQ(made.size(), policies::kOpClasses);
  EXPECT_EQ(made[index_of(OpClass::kGraph)].initial, 2U);
  EXPECT_EQ(made[index_of(OpClass::kGraph)].ceiling, 4U);
  const auto before = Clock::now().time_since_epoch();
  EXPECT_TRUE(executor.submit({.op_class = OpClass::kGraph}, [] {}).get());
  auto failing = executor.submit({.op_class = OpClass::kKernel | OpClass::kGraph}, [] { throw 1; });
  EXPECT_THROW((void)failing.get(), int);
  EXPECT_TRUE(executor.run({.op_class = OpClass::kGraph}, [] {}));
  EXPECT_TRUE(executor.submit({.op_class = OpClass::kKernel}, [] {}).get());
  const std::lock_guard lock(log->mutex);
  ASSERT_EQ(log->observations.size(), 3U) << "the kernel task is none of its business";
  for (const Observation& seen : log->observations) {
    EXPECT_GE(seen.now, before);
    EXPECT_GE(seen.wait.count(), 0);
    EXPECT_GE(seen.service.count(), 0);
    EXPECT_EQ(seen.in_flight, 1U) << "itself included";
    EXPECT_EQ(seen.limit, 2U);
  }
  EXPECT_TRUE(log->observations[0].good);
  EXPECT_FALSE(log->observations[1].good);
  EXPECT_TRUE(log->observations[2].good);
}

TEST(ExecutorPolicy, MovesTheLimitUnderTheCeilingAndReleasesThoseWhoWait) {
  auto log = std::make_shared<PolicyLog>();
  ExecutorOptions options{.config = with_gate(inline_config(4), OpClass::kRaw, 1, 3)};
  options.limit_policy = [&](OpClass c, const LimitPolicyOptions& wanted) {
    if (c != OpClass::kRaw) return policies::make_limit_policy(wanted);
    return std::unique_ptr<LimitPolicy>(std::make_unique<TestPolicy>(wanted.initial, log));
  };
  Executor executor(std::move(options));
  std::optional<Blocker> blocker(executor);
  log->answer = 99;
  Countdown together(3);
  std::vector<Future<void>> futures;
  for (int i = 0; i < 3; ++i) {
    futures.push_back(executor.submit([&] { EXPECT_TRUE(together.arrive_and_wait()); }));
  }
  blocker.reset();  // Its completion raises the limit from 1 to as far as it goes.
  for (auto& future : futures) EXPECT_TRUE(future.wait_for(kGuard)) << "still one at a time";
  EXPECT_EQ(executor.snapshot().gates[0].limit, 3U);
}

TEST(ExecutorPolicy, InShadowWhatItAsksForIsOnRecordAndTheLimitStays) {
  auto log = std::make_shared<PolicyLog>();
  log->answer = 4;
  ExecutorOptions options{.config = with_gate(inline_config(2), OpClass::kRaw, 2, 8)};
  options.config.gates[0].shadow = true;
  std::vector<policies::LimitMode> modes;
  options.limit_policy = [&](OpClass c, const LimitPolicyOptions& wanted) {
    if (c != OpClass::kRaw) return policies::make_limit_policy(wanted);
    modes.push_back(wanted.mode);
    return std::unique_ptr<LimitPolicy>(std::make_unique<TestPolicy>(wanted.initial, log));
  };
  Config config = options.config;
  Executor executor(std::move(options));
  EXPECT_TRUE(executor.run([] {}));
  EXPECT_EQ(executor.snapshot().gates[0].limit, 2U);
  EXPECT_EQ(executor.snapshot().gates[0].wanted, 4U);
  EXPECT_FALSE(executor.snapshot().gates[0].enforced);

  config.gates[0].shadow = false;
  EXPECT_EQ(executor.apply(config), Names{}) << "live";
  EXPECT_TRUE(executor.run([] {}));
  EXPECT_EQ(executor.snapshot().gates[0].limit, 4U);
  EXPECT_TRUE(executor.snapshot().gates[0].enforced);
  EXPECT_EQ(modes, (std::vector{policies::LimitMode::kShadow, policies::LimitMode::kEnforced}));
}

TEST(ExecutorPolicy, ItsDecisionsAndItsKneeAreInTheSnapshot) {
  Config config = with_gate(inline_config(1), OpClass::kRaw, 2, 8);
  config.gates[0].policy = "knee";
  Executor executor({.config = config});
  // One caller never fills two permits: the policy sees that the application is the bound.
  for (int i = 0; i < 2'000; ++i) ASSERT_TRUE(executor.run([] {}));
  const GateSnapshot gate = executor.snapshot().gates[0];
  EXPECT_GE(gate.decision_counts[static_cast<std::size_t>(policies::LimitReason::kApplication)],
            1U);
  ASSERT_FALSE(gate.decisions.empty());
  EXPECT_EQ(gate.decisions.front().reason, policies::LimitReason::kApplication);
  EXPECT_LE(gate.decisions.front().now, Clock::now().time_since_epoch());
  EXPECT_FALSE(gate.knee.has_value()) << "nothing was measured";
}

// ---- apply ----

TEST(Apply, RaisedLimitReleasesQueuedTasks) {
  const Config before = with_gate(inline_config(3), OpClass::kRaw, 1, 3);
  Executor executor({.config = before});
  Blocker blocker(executor);
  auto waiting = executor.submit([] {});
  EXPECT_EQ(executor.apply(with_gate(before, OpClass::kRaw, 3, 3)), Names{});
  EXPECT_TRUE(waiting.wait_for(kGuard));
  EXPECT_EQ(executor.snapshot().gates[0].limit, 3U);
  EXPECT_EQ(executor.config().gates[0].limit, 3U);
}

TEST(Apply, LiveKeysTakeEffectAtOnce) {
  Config config = inline_config(1);
  Executor executor({.config = config});
  Blocker blocker(executor);
  auto low = executor.submit({.priority = Priority::kLow, .cost_bytes = 60}, [] {});
  config.queue.max_tasks = 1;
  EXPECT_EQ(executor.apply(config), Names{});
  EXPECT_EQ(executor.submit([] {}).get().outcome(), Outcome::kQueueFull);
  config.queue.max_tasks = 9;
  config.queue.max_bytes = 100;
  EXPECT_EQ(executor.apply(config), Names{});
  EXPECT_EQ(executor.submit({.cost_bytes = 41}, [] {}).get().outcome(), Outcome::kBytesFull);
  config.queue.when_full = WhenFull::kShedLowest;
  config.executor.drain_timeout = std::chrono::milliseconds(77);
  EXPECT_EQ(executor.apply(config), Names{});
  auto shedding = executor.submit({.cost_bytes = 41}, [] {});
  EXPECT_EQ(low.get().outcome(), Outcome::kShed);
  EXPECT_EQ(executor.config().executor.drain_timeout, std::chrono::milliseconds(77));
  const Snapshot snapshot = executor.snapshot();
  EXPECT_EQ(snapshot.queue.max_tasks, 9U);
  EXPECT_EQ(snapshot.queue.max_bytes, 100U);
  EXPECT_EQ(snapshot.reloads.applied, 3U);
}

TEST(Apply, RestartKeysAreNamedAndNotTakenOver) {
  const Config before = inline_config(1);
  Executor executor({.config = before});
  Config wanted = before;
  wanted.executor.threads = 2;
  wanted.executor.streams = 7;
  wanted.gates[index_of(OpClass::kKernel)].ceiling = 9;
  wanted.metrics.port = 1234;
  EXPECT_EQ(executor.apply(wanted),
            (Names{"executor.threads", "executor.streams", "gate.kernel.ceiling", "metrics.port"}));
  const Snapshot snapshot = executor.snapshot();
  EXPECT_EQ(snapshot.arena.threads, 1U);
  EXPECT_EQ(snapshot.streams.slots, 32U);
  EXPECT_EQ(snapshot.gates[index_of(OpClass::kKernel)].ceiling, 1U);
  EXPECT_EQ(snapshot.gates[index_of(OpClass::kRaw)].limit, 1U)
      << "an automatic limit goes with the workers that there are, not with those to come";
}

TEST(Apply, TheConfigThatIsInEffectChangesNothing) {
  const Config given = inline_config(1);
  Executor executor({.config = given});
  EXPECT_EQ(executor.apply(given), Names{}) << "an automatic value is no change";
  EXPECT_EQ(executor.apply(executor.config()), Names{});
}

TEST(Apply, LimitAboveTheCeilingInForceIsRefusedAndNothingChanges) {
  const Config before = with_gate(inline_config(1), OpClass::kGraph, 2, 2);
  Executor executor({.config = before});
  Config wanted = with_gate(before, OpClass::kGraph, 3, 4);  // A ceiling changes on a restart only.
  wanted.gates[index_of(OpClass::kRaw)].limit = 7;
  wanted.queue.max_tasks = 5;
  EXPECT_THROW((void)executor.apply(wanted), std::invalid_argument);
  EXPECT_EQ(executor.config().queue.max_tasks, before.queue.max_tasks);
  EXPECT_EQ(executor.snapshot().gates[index_of(OpClass::kRaw)].limit, 1U);
  EXPECT_EQ(executor.snapshot().gates[index_of(OpClass::kGraph)].limit, 2U);
  EXPECT_EQ(executor.snapshot().reloads.applied, 0U);
  Config unknown = before;
  unknown.queue.max_tasks = 5;
  unknown.gates[0].policy = "crystal_ball";
  EXPECT_THROW((void)executor.apply(unknown), std::invalid_argument);
  EXPECT_EQ(executor.config().queue.max_tasks, before.queue.max_tasks);
}

TEST(Apply, WhileManySubmitLosesNobodyAndPassesNoCeiling) {
  const Config first = with_gate(inline_config(3), OpClass::kRaw, 1, 3);
  Executor executor({.config = first});
  testing::Census census;
  std::atomic<bool> stop{false};
  std::jthread operator_thread([&] {
    for (std::size_t i = 0; !stop.load(); ++i) {
      Config next = with_gate(first, OpClass::kRaw, 1 + i % 3, 3);
      next.queue.max_tasks = 1'000 + i % 10;
      EXPECT_EQ(executor.apply(next), Names{});
    }
  });
  for (int round = 0; round < 100; ++round) {
    std::array<Future<void>, 20> futures;
    for (auto& future : futures) {
      future = executor.submit([&] {
        EXPECT_LE(census.enter(), 3U);
        census.leave();
      });
    }
    for (auto& future : futures) ASSERT_TRUE(future.wait_for(kGuard));
  }
  stop = true;
  operator_thread.join();
  drain_all(executor);
}

// ---- reload ----

constexpr std::string_view kBase = "[executor]\nbackend = 'inline'\nthreads = 2\n";

TEST(Reload, AppliesTheFileAndCountsIt) {
  const ConfigFile file(std::string(kBase) + "[gate.graph]\nlimit = 1\nceiling = 3\n");
  Executor executor(file.path());
  Blocker blocker(executor, {.op_class = OpClass::kGraph});
  auto waiting = executor.submit({.op_class = OpClass::kGraph}, [] {});
  file.write(std::string(kBase) + "streams = 5\n[gate.graph]\nlimit = 3\nceiling = 3\n");
  EXPECT_EQ(executor.reload(file.path()), (Names{"executor.streams"}));
  EXPECT_TRUE(waiting.wait_for(kGuard));
  EXPECT_EQ(executor.snapshot().reloads.applied, 1U);
  EXPECT_EQ(executor.snapshot().reloads.failed, 0U);
}

TEST(Reload, BrokenFileChangesNothingAndIsCounted) {
  const ConfigFile file(std::string(kBase) + "[queue]\nmax_tasks = 50\n");
  Executor executor(file.path());
  const Config before = executor.config();
  std::uint64_t failed = 0;
  for (const std::string_view broken :
       {"[queue]\nmax_tasks = 60\n[queue\n", "[queue]\nmax_tasks = 0\n",
        "[queue]\nmax_tasks = 60\nmax_flasks = 1\n", "[gate.raw]\nlimit = 0x\n"}) {
    file.write(std::string(kBase) + std::string(broken));
    EXPECT_THROW((void)executor.reload(file.path()), ConfigError) << broken;
    EXPECT_EQ(executor.snapshot().reloads.failed, ++failed);
    EXPECT_EQ(executor.config(), before);
  }
  EXPECT_THROW((void)executor.reload("/nowhere/streamgate.toml"), ConfigError);
  EXPECT_EQ(executor.snapshot().reloads.failed, ++failed);
  // Good as a file, but not for this executor, whose ceiling changes on a restart only.
  file.write(std::string(kBase) +
             "[queue]\nmax_tasks = 60\n[gate.graph]\nlimit = 2\nceiling = 2\n");
  EXPECT_THROW((void)executor.reload(file.path()), std::invalid_argument);
  EXPECT_EQ(executor.snapshot().reloads.failed, ++failed);
  EXPECT_EQ(executor.config(), before);
  EXPECT_EQ(executor.snapshot().reloads.applied, 0U);
  EXPECT_EQ(executor.submit([] { return 1; }).get().value(), 1);
}

}  // namespace
}  // namespace streamgate::executor
