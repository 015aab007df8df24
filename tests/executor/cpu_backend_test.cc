// SPDX-License-Identifier: Apache-2.0
//
// The CPU backend: libtorch's intra-op threads are a task's share while a task runs, and what they
// were before afterwards.
#include <streamgate/executor.h>
#include <streamgate/executor/backends/cpu.h>
#include <streamgate/executor/internal/torch_library.h>
#include <streamgate/executor/learned_memory.h>
#include <streamgate/executor/operation.h>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/add.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>
#include <torch/version.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"

namespace streamgate::executor {
namespace {

using testing::Countdown;

Config cpu_config(std::size_t threads, std::size_t intra_op_threads) {
  Config config;
  config.executor.backend = "cpu";
  config.executor.threads = threads;
  config.executor.intra_op_threads = intra_op_threads;
  // So that the counts below mean something on a machine with few cores, too.
  config.executor.allow_oversubscription = true;
  return config;
}

TEST(CpuBackend, EveryWorkerHasItsShareOfTheThreads) {
  Executor executor(ExecutorOptions{.config = cpu_config(3, 2)});
  Countdown together(3);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 3; ++i) {
    futures.push_back(executor.submit([&] {
      EXPECT_TRUE(together.arrive_and_wait());
      return at::get_num_threads();
    }));
  }
  for (auto& future : futures) EXPECT_EQ(future.get().value(), 2);
}

TEST(CpuBackend, ATaskThatChangesTheThreadsDoesNotChangeThemForACaller) {
  Executor executor(ExecutorOptions{.config = cpu_config(1, 2)});
  at::set_num_threads(5);
  EXPECT_TRUE(executor.run([] { at::set_num_threads(7); }));
  EXPECT_EQ(at::get_num_threads(), 5);
}

TEST(CpuBackend, ACallerHasItsShareWhileItRunsAndItsOwnNumberAfterwards) {
  Executor executor(ExecutorOptions{.config = cpu_config(1, 2)});
  for (const int before : {1, 2, 3}) {
    at::set_num_threads(before);
    EXPECT_EQ(executor.run([] { return at::get_num_threads(); }).value(), 2);
    EXPECT_EQ(at::get_num_threads(), before);
    EXPECT_THROW((void)executor.run([]() -> int { throw std::runtime_error("no"); }),
                 std::runtime_error);
    EXPECT_EQ(at::get_num_threads(), before) << "after a task that threw";
  }
}

/// Asks for as many threads within a task as a test says, with each completion.
class SplittingPolicy final : public policies::LimitPolicy {
 public:
  explicit SplittingPolicy(const std::atomic<std::size_t>& threads) : threads_(threads) {}
  std::size_t initial_limit() const noexcept override { return 1; }
  bool wants_observations() const noexcept override { return true; }
  std::size_t intra_op_threads() const noexcept override { return threads_; }
  std::optional<std::size_t> observe(const policies::Observation&) noexcept override { return 1; }

 private:
  const std::atomic<std::size_t>& threads_;
};

TEST(CpuBackend, AnotherSplitHoldsFromTheNextTaskOnForWorkersAndCallers) {
  std::atomic<std::size_t> wanted{2};
  ExecutorOptions options{.config = cpu_config(1, 2)};
  options.limit_policy =
      [&](OpClass c,
          const policies::LimitPolicyOptions& made) -> std::unique_ptr<policies::LimitPolicy> {
    if (c != OpClass::kRaw) return policies::make_limit_policy(made);
    return std::make_unique<SplittingPolicy>(wanted);
  };
  Executor executor(std::move(options));
  at::set_num_threads(5);
  for (const int threads : {2, 4, 1, 3}) {
    wanted = static_cast<std::size_t>(threads);
    EXPECT_TRUE(executor.run([] {}));  // With its end the policy is asked.
    EXPECT_EQ(executor.submit([] { return at::get_num_threads(); }).get().value(), threads);
    EXPECT_EQ(executor.run([] { return at::get_num_threads(); }).value(), threads);
    EXPECT_EQ(at::get_num_threads(), 5) << "a caller's own number comes back";
    EXPECT_EQ(executor.snapshot().arena.intra_op_threads, wanted);
  }
}

TEST(CpuBackend, KneeChoosesTheThreadsWithinATaskWhereTheConfigSaysSo) {
  for (const bool adapt : {false, true}) {
    Config config = cpu_config(2, 2);
    config.executor.adapt_intra_op = adapt;
    std::size_t cores = 99;
    ExecutorOptions options{.config = config};
    options.limit_policy = [&](OpClass c, const policies::LimitPolicyOptions& made) {
      if (c == OpClass::kRaw) cores = made.cores_to_split;
      return policies::make_limit_policy(made);
    };
    Executor executor(std::move(options));
    EXPECT_EQ(cores, adapt ? 4U : 0U);
    EXPECT_EQ(executor.run([] { return at::get_num_threads(); }).value(), adapt ? 1 : 2);
  }
}

TEST(CpuBackend, ThreadsThatComeToLibtorchLaterKeepTheirOwnDefault) {
  at::set_num_threads(3);
  Executor executor(ExecutorOptions{.config = cpu_config(1, 2)});
  EXPECT_EQ(executor.run([] { return at::get_num_threads(); }).value(), 2);
  EXPECT_EQ(executor.submit([] { return at::get_num_threads(); }).get().value(), 2);
  int later = 0;
  std::thread([&] { later = at::get_num_threads(); }).join();
  EXPECT_EQ(later, 3);
}

TEST(CpuBackend, ANestedRunKeepsTheShareAndTheNumberComesBack) {
  Executor executor(ExecutorOptions{.config = cpu_config(1, 2)});
  at::set_num_threads(3);
  const auto inner = executor.run([&] {
    const int nested = executor.run([] { return at::get_num_threads(); }).value();
    return std::pair(nested, at::get_num_threads());
  });
  EXPECT_EQ(inner.value(), std::pair(2, 2));
  EXPECT_EQ(at::get_num_threads(), 3);
}

TEST(CpuBackend, WorkersAreGivenBackWithTheNumberTheyCameWith) {
  std::thread::id worker;
  int inside = 0;
  {
    Executor executor(ExecutorOptions{.config = cpu_config(1, 2)});
    inside = executor
                 .submit([&] {
                   worker = std::this_thread::get_id();
                   return at::get_num_threads();
                 })
                 .get()
                 .value();
  }
  EXPECT_EQ(inside, 2);
  // The same worker of TBB's, or a fresh one, seen through an executor with another share.
  Executor executor(ExecutorOptions{.config = cpu_config(1, 3)});
  EXPECT_EQ(executor.submit([] { return at::get_num_threads(); }).get().value(), 3);
}

TEST(CpuBackend, TensorWorkGivesTheSameThroughBothDoors) {
  Executor executor(ExecutorOptions{.config = cpu_config(2, 1)});
  const auto work = [] { return at::ones({64, 64}).mm(at::ones({64, 64})).sum().item<float>(); };
  const float expected = 64.F * 64.F * 64.F;
  EXPECT_EQ(executor.submit(work).get().value(), expected);
  EXPECT_EQ(executor.run(work).value(), expected);
}

TEST(CpuBackend, ThreadsTimesIntraOpThreadsBeyondTheCoresIsRefusedUnlessAllowed) {
  Config config = cpu_config(1'000, 2);
  config.executor.allow_oversubscription = false;
  try {
    const Executor executor(ExecutorOptions{.config = config});
    ADD_FAILURE() << "2000 threads were accepted";
  } catch (const std::invalid_argument& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("executor.threads = 1000"), std::string::npos) << text;
    EXPECT_NE(text.find("executor.intra_op_threads = 2"), std::string::npos) << text;
    EXPECT_NE(text.find("executor.allow_oversubscription"), std::string::npos) << text;
  }
}

TEST(CpuBackend, ProvenanceNamesTheLibraryThatIsLoaded) {
  const Executor executor(ExecutorOptions{.config = cpu_config(1, 1)});
  const Provenance provenance = executor.provenance();
  EXPECT_EQ(provenance.backend, "cpu");
  EXPECT_EQ(provenance.libtorch.rfind(TORCH_VERSION, 0), 0U) << provenance.libtorch;
  EXPECT_FALSE(provenance.device.empty());
  EXPECT_FALSE(provenance.os.empty());
  EXPECT_EQ(provenance, executor.provenance()) << "two looks at one machine differ";
}

TEST(CpuBackend, LoadedLibraryIsAFileThatIsNotItsOwnRival) {
  const std::filesystem::path loaded = loaded_torch_path();
  EXPECT_TRUE(std::filesystem::is_regular_file(loaded)) << loaded;
  EXPECT_NE(loaded.filename().string().find("torch_cpu"), std::string::npos) << loaded;
  for (const auto& other : other_torch_paths()) EXPECT_NE(other, loaded);
}

TEST(CpuBackend, ClosuresAreRawUnlessSaid) {
  Executor executor(ExecutorOptions{.config = cpu_config(1, 1)});
  EXPECT_TRUE(executor.run([] {}));
  const std::size_t raw = policies::OpClassSet(OpClass::kRaw).lane();
  EXPECT_EQ(executor.snapshot().lanes[raw].outcomes[index_of(Outcome::kOk)], 1U);
}

// ---- memory ----

constexpr std::int64_t kMegabyte = 1 << 20;

at::Tensor bytes(std::int64_t megabytes) { return at::ones({megabytes * kMegabyte}, at::kByte); }

TEST(CpuBackend, ATaskThatLearnsIsMeasuredByTheMostThatItHeldAtATime) {
  Executor executor(ExecutorOptions{.config = cpu_config(2, 1)});
  LearnedMemory learned;
  const at::Tensor before = bytes(50);
  const auto work = [&] {
    { const at::Tensor first = bytes(3); }
    const at::Tensor second = bytes(8);
    const at::Tensor third = at::add(second, before.narrow(0, 0, 8 * kMegabyte));
    return third.size(0);
  };
  EXPECT_TRUE(executor.submit({.learn_memory = &learned}, work).get());
  ASSERT_TRUE(learned.estimate(0).has_value());
  EXPECT_GE(*learned.estimate(0), 16U * kMegabyte);
  EXPECT_LE(*learned.estimate(0), 17U * kMegabyte) << "the 3 were given back before, the 50 are not its";
  EXPECT_TRUE(executor.run({.learn_memory = &learned}, work));
  EXPECT_EQ(executor.snapshot().memory.measured, 2U);
  EXPECT_EQ(executor.snapshot().memory.exceeded, 0U);
}

TEST(CpuBackend, ATaskInATaskCountsForTheOuterOne) {
  Executor executor(ExecutorOptions{.config = cpu_config(2, 1)});
  LearnedMemory outer;
  LearnedMemory inner;
  EXPECT_TRUE(executor.run({.learn_memory = &outer}, [&] {
    EXPECT_TRUE(executor.run({.learn_memory = &inner}, [] { bytes(4); }));
  }));
  EXPECT_GE(outer.estimate(0).value_or(0), 4U * kMegabyte);
  EXPECT_EQ(inner.estimate(0), std::nullopt);
}

TEST(CpuBackend, CallsLearnWhatTheirOperationHolds) {
  Config config = cpu_config(2, 1);
  config.memory.learn_calls = true;
  Executor executor(ExecutorOptions{.config = config});
  const Operation add = executor.operation("aten::add.Tensor");
  const at::Tensor a = bytes(4);
  EXPECT_TRUE(executor.call(add, {a, a}).get());
  EXPECT_TRUE(executor.run(add, {a, a}));
  EXPECT_TRUE(executor.call(add, {a, a}).get());
  const Snapshot::Memory memory = executor.snapshot().memory;
  EXPECT_EQ(memory.measured, 3U);
  EXPECT_EQ(memory.exceeded, 0U) << "the sum of 4 MiB is all that it holds";
  EXPECT_TRUE(executor.call(add, {a, a}, {.memory_bytes = 1}).get());
  EXPECT_EQ(executor.snapshot().memory.measured, 3U) << "what is said is not learned";
  EXPECT_EQ(executor.call(add, {a, a}, {.memory_bytes = std::size_t{1} << 60U}).get().outcome(),
            Outcome::kTooLarge);
}

}  // namespace
}  // namespace streamgate::executor
