// SPDX-License-Identifier: Apache-2.0
//
// Nothing is left of a pool: no descriptor, mapping, thread or process, however its workers ended;
// and no worker is left of a host, however that ended.
#include <streamgate/executor/workers/worker_pool.h>
#include <streamgate/executor/workers/worker_program.h>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "pool_support.h"
#include "spawn.h"

namespace streamgate::executor {
namespace {

using namespace std::chrono_literals;
using testing::call;
using testing::count;
using testing::eventually;
using testing::Held;
using testing::held;
using testing::pool_options;
using testing::TestCall;
using testing::wait_for_ready;

TEST(LeftBehind, NothingOfAPoolHoweverItsWorkersEnd) {
  const Held before = held();
  std::vector<std::unique_ptr<TestCall>> calls;
  {
    WorkerPoolOptions options = pool_options(2);
    options.recycle_calls = 5;
    options.hang_after = 100ms;
    WorkerPool pool(options);
    for (const char* deed : {"e", "r11", "x3", "h", "c", "s", "b", "o", "t", "q", "H", "e", "e"}) {
      calls.push_back(call(pool, deed, {.run_for = 100ms}));
    }
    EXPECT_GT(held().mappings, before.mappings) << "the count counts";
    calls.push_back(std::make_unique<TestCall>("h"));
    pool.submit(*calls.back(), {});
  }
  EXPECT_EQ(held().descriptors, before.descriptors);
  EXPECT_EQ(held().mappings, before.mappings);
  EXPECT_EQ(held().threads, before.threads);
  EXPECT_FALSE(held().children);
}

TEST(LeftBehind, NothingOfManyWorkersOfALongLivedPool) {
  WorkerPool pool(pool_options(1));
  ASSERT_EQ(call(pool, "e")->how.result, CallResult::kDone);
  const Held before = held();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(call(pool, "r9")->how.result, CallResult::kWorkerDied);
    ASSERT_EQ(call(pool, "e")->how.result, CallResult::kDone);
  }
  ASSERT_TRUE(eventually([&] { return held().threads == before.threads; }));
  EXPECT_EQ(held().descriptors, before.descriptors);
  EXPECT_EQ(held().mappings, before.mappings);
}

TEST(LeftBehind, AnAnswerThatIsKeptOutlivesItsWorkerAndItsPool) {
  struct Keeping final : WorkerCall {
    BlockReference encode(Channel& to_worker) override {
      const std::optional<Block> block =
          to_worker.allocate(5, std::chrono::steady_clock::now() + testing::kGuard);
      std::memcpy(block.value().data(), "ekept", 5);
      return to_worker.lend(*block).value();
    }
    void sent() noexcept override {}
    void not_sent(Channel&) noexcept override {}
    void complete(CallEnd end) noexcept override {
      kept = std::move(end.response);
      ended.set();
    }
    Block kept;
    testing::Event ended;
  } keeping;
  {
    WorkerPool pool(pool_options(1));
    pool.submit(keeping, {});
    ASSERT_TRUE(keeping.ended.wait());
    EXPECT_EQ(call(pool, "r9")->how.result, CallResult::kWorkerDied);
  }
  ASSERT_EQ(keeping.kept.bytes(), 4U);
  EXPECT_EQ(std::memcmp(keeping.kept.data(), "kept", 4), 0);
  const std::size_t mapped = held().mappings;
  keeping.kept = {};
  EXPECT_EQ(held().mappings, mapped - 1);
}

TEST(LeftBehind, AWorkerHasNoDescriptorOfItsHostButTheNamedOnes) {
  // One that is not closed on exec, as many services have.
  const Descriptor open_by_mistake(open("/dev/null", O_RDONLY));
  WorkerPool pool(pool_options(2));
  ASSERT_TRUE(wait_for_ready(pool, 2));
  const std::string process = call(pool, "i")->answer;
  std::vector<std::string> numbers;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + process + "/fd")) {
    numbers.push_back(entry.path().filename());
  }
  std::sort(numbers.begin(), numbers.end());
  // Standard input, output and error, the channel, the lifeline, and the two ends of its watch.
  EXPECT_EQ(numbers, (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6"}));
}

TEST(LeftBehind, NothingOfStartsThatFailForWantOfDescriptors) {
  const Held before = held();
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  {
    WorkerPool pool(pool_options(1));
    ASSERT_EQ(call(pool, "e")->how.result, CallResult::kDone);
    const Held serving = held();
    // Every number of descriptors that stops a start in another place, and the last that does not.
    for (rlim_t more = 0; more < 14; ++more) {
      const rlimit tight{.rlim_cur = before.descriptors + 3 + more, .rlim_max = limit.rlim_max};
      ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
      const std::uint64_t failed = count(pool.snapshot(), WorkerExit::kStartFailed);
      EXPECT_EQ(call(pool, "r9")->how.result, CallResult::kWorkerDied);
      EXPECT_TRUE(eventually([&] {
        return count(pool.snapshot(), WorkerExit::kStartFailed) > failed || pool.load().ready == 1;
      }));
      ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
      ASSERT_EQ(call(pool, "e")->how.result, CallResult::kDone) << "it recovers";
    }
    EXPECT_GT(count(pool.snapshot(), WorkerExit::kStartFailed), 0U) << "starts did fail";
    EXPECT_EQ(held().descriptors, serving.descriptors);
    EXPECT_EQ(held().mappings, serving.mappings);
  }
  EXPECT_EQ(held().descriptors, before.descriptors);
  EXPECT_EQ(held().mappings, before.mappings);
  EXPECT_FALSE(held().children);
}

// ---- a host that ends ---------------------------------------------------------------------------

/// A host with three workers, busy with `deed`, and descriptors that tell when each has ended.
struct HostWithWorkers {
  explicit HostWithWorkers(const std::string& deed) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    const Descriptor reading(ends[0]);
    Descriptor writing(ends[1]);
    host = std::make_unique<testing::Child>(
        STREAMGATE_WORKERS_PEER, std::vector<std::string>{"host", deed},
        std::vector<std::pair<int, int>>{{writing.get(), STDOUT_FILENO}});
    writing.reset();
    std::string line;
    for (char c = 0; read(reading.get(), &c, 1) == 1 && c != '\n';) line += c;
    std::istringstream ids(line);
    for (pid_t process = 0; ids >> process;) {
      workers.emplace_back(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
    }
  }
  /// Whether each ends, within the guard.
  [[nodiscard]] bool all_end() const {
    for (const Descriptor& worker : workers) {
      pollfd polled{worker.get(), POLLIN, 0};
      const auto guard = std::chrono::milliseconds(testing::kGuard);
      if (poll(&polled, 1, static_cast<int>(guard.count())) != 1) return false;
    }
    return true;
  }
  [[nodiscard]] bool some_have_ended() const {
    for (const Descriptor& worker : workers) {
      pollfd polled{worker.get(), POLLIN, 0};
      if (poll(&polled, 1, 0) != 0) return true;
    }
    return false;
  }
  std::unique_ptr<testing::Child> host;
  std::vector<Descriptor> workers;
};

TEST(Orphans, NoWorkerOutlivesAHostThatIsKilled) {
  // Busy, deaf to everything, or idle.
  for (const char* deed : {"m", "H", "e"}) {
    HostWithWorkers family(deed);
    ASSERT_EQ(family.workers.size(), 3U) << deed;
    EXPECT_FALSE(family.some_have_ended()) << deed;
    family.host->signal(SIGKILL);
    EXPECT_TRUE(family.all_end()) << deed;
  }
}

TEST(Orphans, NoWorkerOutlivesAHostThatIsKilledWhileTheyStart) {
  for (int i = 0; i < 10; ++i) {
    testing::Child host(STREAMGATE_WORKERS_PEER, {"host", "e"});
    // Whatever it has started by the time that a child of it can be seen.
    std::vector<Descriptor> workers;
    ASSERT_TRUE(eventually([&] {
      for (const auto& thread :
           std::filesystem::directory_iterator("/proc/" + std::to_string(host.pid()) + "/task")) {
        std::ifstream list(thread.path() / "children");
        for (pid_t process = 0; list >> process;) {
          workers.emplace_back(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
        }
      }
      return !workers.empty();
    }));
    host.signal(SIGKILL);
    for (const Descriptor& worker : workers) {
      if (!worker) continue;  // Gone already.
      pollfd polled{worker.get(), POLLIN, 0};
      EXPECT_EQ(poll(&polled, 1, 60'000), 1);
    }
  }
}

TEST(WorkerProgram, IsWhatTheOperatorNamedOrThisProgram) {
  EXPECT_EQ(worker_program("/bin/true"), "/bin/true");
  EXPECT_THROW(static_cast<void>(worker_program("streamgate")), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(worker_program("./streamgate")), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(worker_program("/nonexistent")), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(worker_program("/usr")), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(worker_program("")), std::invalid_argument)
      << "this program has not said that it can serve";
}

}  // namespace
}  // namespace streamgate::executor
