// SPDX-License-Identifier: Apache-2.0
//
// Sixteen clients and four workers, and everything that can happen to workers, at random: every
// call has exactly one end, which is right; what may be done once is done once; and afterwards
// nothing is left. It runs without libtorch, so that ThreadSanitizer sees all of it.
#include <streamgate/executor/workers/channel_state.h>
#include <streamgate/executor/workers/protocol.h>
#include <streamgate/executor/workers/shared_memory.h>
#include <streamgate/executor/workers/worker_pool.h>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "../support/chaos.h"
#include "../workers/pool_support.h"

namespace streamgate::executor {
namespace {

using namespace std::chrono_literals;
using testing::CallResult;
using testing::children;
using testing::eventually;
using testing::Held;
using testing::held;
using testing::NoteFile;
using testing::TestCall;
using Random = std::mt19937_64;

/// Writes a number that cannot be into one of the counts of a worker's rings.
void spoil_ring(pid_t process, Random& random) {
  const std::string path =
      "/proc/" + std::to_string(process) + "/fd/" + std::to_string(kChannelInWorker);
  std::optional<SharedMemory> memory;
  try {
    memory.emplace(SharedMemory::adopt(Descriptor(open(path.c_str(), O_RDWR | O_CLOEXEC))));
  } catch (const std::system_error&) {
    return;  // It is gone, or not so far yet that this number is its channel.
  }
  auto& shared = *reinterpret_cast<SharedChannel*>(memory->data());
  const std::size_t side = random() % 2;
  const auto nonsense = static_cast<std::uint32_t>(random() | 0x4000'0000U);
  switch (random() % 4) {
    case 0:
      shared.messages[side].written.store(nonsense);
      break;
    case 1:
      shared.messages[side].taken.store(nonsense);
      break;
    case 2:
      shared.returns[side].written.store(nonsense);
      break;
    default:
      shared.returns[side].taken.store(nonsense);
      break;
  }
  shared.messages[side].data.ring_always();
}

/// A limit of this process that is lowered while this lives.
class Lowered {
 public:
  Lowered(__rlimit_resource what, rlim_t to) : what_(what) {
    getrlimit(what, &before_);
    const rlimit lowered{.rlim_cur = std::min(to, before_.rlim_cur), .rlim_max = before_.rlim_max};
    setrlimit(what, &lowered);
  }
  ~Lowered() { setrlimit(what_, &before_); }
  Lowered(const Lowered&) = delete;
  Lowered& operator=(const Lowered&) = delete;

 private:
  __rlimit_resource what_;
  rlimit before_{};
};

struct Tally {
  std::mutex mutex;
  std::map<std::string, std::size_t> ends;  ///< By deed and result.
  std::vector<std::string> wrong;
  std::size_t noted_done = 0;  ///< Calls with a side effect that ended well.
  std::atomic<bool> over{false};
};

const char* word(CallResult result) {
  static constexpr std::array<const char*, 6> kWords = {"done",    "failed",      "cancelled",
                                                        "expired", "worker_died", "refused"};
  return kWords[static_cast<std::size_t>(result)];
}

class Client {
 public:
  Client(WorkerPool& pool, Tally& tally, std::string folder, int number, std::uint64_t seed)
      : pool_(pool), tally_(tally), folder_(std::move(folder)), number_(number), random_(seed) {}

  void run() {
    while (!tally_.over) one_call();
  }

 private:
  void one_call() {
    static constexpr std::string_view kDeeds = "eeeeeeeennnnttrxqhcsobgdl";
    const char deed = kDeeds[random_() % kDeeds.size()];
    std::string text;
    std::string note;
    switch (deed) {
      case testing::kNoteAndEcho:
      case testing::kNoteAndDie:
        note = folder_ + "/" + std::to_string(number_) + "-" + std::to_string(++notes_);
        text = note;
        break;
      case testing::kRaise:
        text = std::to_string(std::array{SIGSEGV, SIGABRT, SIGBUS, SIGKILL}[random_() % 4]);
        break;
      case testing::kExit:
        text = "5";
        break;
      case testing::kGrow:
        text = "2";
        break;
      case testing::kHang:
        break;
      case testing::kRunOutOfMemory:
        text = "out of memory";
        break;
      default:
        text = std::string(random_() % 40'000, static_cast<char>('a' + random_() % 26)) +
               std::to_string(random_());
    }

    WorkerCallOptions options;
    const bool waits = deed == testing::kWaitForCancel;
    if (deed == testing::kHang || waits || random_() % 10 == 0) options.run_for = 100ms;
    const bool has_deadline = random_() % 8 == 0;
    if (has_deadline) {
      options.start_by =
          std::chrono::steady_clock::now() + std::chrono::microseconds(random_() % 20'000);
    }
    if (deed == testing::kEcho && random_() % 2 == 0) options.attempts = 3;

    // Some stay for the answer, some are told.
    options.attended = random_() % 2 == 0;
    TestCall call(std::string(1, deed) + text);
    const std::uint64_t number = pool_.submit(call, options);
    const bool cancelled = waits || random_() % 12 == 0;
    if (cancelled) pool_.cancel(number);
    if (options.attended) pool_.attend(call);
    const CallResult result = call.wait();
    judge(deed, text, note, call, result,
          {.cancelled = cancelled, .timed = has_deadline || options.run_for.count() != 0});
  }

  struct Asked {
    bool cancelled = false;
    bool timed = false;
  };

  void judge(char deed, const std::string& text, const std::string& note, const TestCall& call,
             CallResult result, Asked asked) {
    std::string wrong;
    if (call.ends != 1) wrong = "it ended " + std::to_string(call.ends) + " times";
    switch (result) {
      case CallResult::kDone:
        if (std::string_view("txrqhcsobdl").find(deed) != std::string_view::npos) {
          wrong = "it cannot have ended well";
        } else if (call.answer != text) {
          wrong = "a wrong answer";
        }
        break;
      case CallResult::kFailed:
        if ((deed != testing::kThrow && deed != testing::kRunOutOfMemory) ||
            call.how.text != text.substr(0, call.how.text.size())) {
          wrong = "it failed: " + call.how.text.substr(0, 100);
        }
        break;
      case CallResult::kCancelled:
        if (!asked.cancelled) wrong = "nobody cancelled it";
        break;
      case CallResult::kExpired:
        if (!asked.timed) wrong = "it had no deadline";
        break;
      case CallResult::kWorkerDied:
        if (!call.how.begun) wrong = "it died with its worker and had not begun";
        break;
      case CallResult::kRefused:
        wrong = "refused: " + call.how.text;
        break;
    }
    std::size_t begun = 0;
    if (!note.empty()) {
      // By its size: there may be no descriptor to read it with.
      std::error_code not_there;
      const std::uintmax_t bytes = std::filesystem::file_size(note, not_there);
      if (!not_there) begun = bytes / testing::kNoteBytes;
      if (begun > 1) wrong = "it was begun " + std::to_string(begun) + " times";
      if (result == CallResult::kDone && begun != 1) wrong = "it was not begun, and ended well";
      if (!call.how.begun && begun != 0) wrong = "it was begun, and is said not to have been";
      std::filesystem::remove(note);
    }
    const std::lock_guard lock(tally_.mutex);
    ++tally_.ends[std::string(1, deed) + " " + word(result)];
    if (!wrong.empty()) tally_.wrong.push_back(std::string(1, deed) + ": " + wrong);
  }

  WorkerPool& pool_;
  Tally& tally_;
  const std::string folder_;
  const int number_;
  Random random_;
  int notes_ = 0;
};

/// Does something to a worker, or to this process's limits, until the end.
void vandalise(const Tally& tally, std::size_t free_descriptors, std::uint64_t seed) {
  Random random(seed);
  while (!tally.over) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));  // Its nature is chance.
    const std::vector<pid_t> workers = children();
    if (workers.empty()) continue;
    const pid_t worker = workers[random() % workers.size()];
    switch (random() % 7) {
      case 0:
      case 1:
        kill(worker, SIGKILL);
        break;
      case 2:
        kill(worker, SIGSTOP);
        break;
      case 3:
        kill(worker, SIGSTOP);
        std::this_thread::sleep_for(5ms);
        kill(worker, SIGCONT);
        break;
      case 4:
        spoil_ring(worker, random);
        break;
      case 5: {
        // Descriptors run out, at any place of a start.
        const Lowered lowered(RLIMIT_NOFILE, free_descriptors + random() % 12);
        kill(worker, SIGKILL);
        std::this_thread::sleep_for(10ms);
        break;
      }
      default: {
        // No memory to share is to be had.
        const Lowered lowered(RLIMIT_FSIZE, 1 << 16);
        kill(worker, SIGKILL);
        std::this_thread::sleep_for(10ms);
        break;
      }
    }
  }
}

void run_chaos(std::chrono::seconds usual_time) {
  const auto [seed, time] = testing::plan_chaos(usual_time);
  // A limit on the size of files says so with a signal before it does with an error.
  signal(SIGXFSZ, SIG_IGN);
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("streamgate-chaos-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  const Held before = held();
  Tally tally;
  WorkersSnapshot end;
  {
    WorkerPoolOptions options = testing::pool_options(4);
    options.hang_after = 300ms;
    options.recycle_calls = 200;
    options.recycle_growth = 32 << 20;
    options.run_for = 5s;
    options.supervisor.start_within = 2s;
    options.supervisor.ready_within = 2s;
    options.supervisor.configuration = "slow";
    WorkerPool pool(options);
    std::vector<std::unique_ptr<Client>> clients;
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i) {
      clients.push_back(std::make_unique<Client>(pool, tally, folder.string(), i, seed + 1 + i));
      threads.emplace_back([&client = *clients.back()] { client.run(); });
    }
    threads.emplace_back([&, seed = seed] { vandalise(tally, before.descriptors, seed); });
    std::this_thread::sleep_for(time);
    tally.over = true;
    for (std::thread& thread : threads) thread.join();
    // Whatever was done to it, it serves.
    EXPECT_TRUE(eventually([&] {
      const auto last = testing::call(pool, "elast", {.attempts = 16});
      return last->how.result == CallResult::kDone && last->answer == "last";
    }));
    EXPECT_TRUE(eventually([&] { return pool.load().ready == 4; }));
    end = pool.snapshot();
    EXPECT_EQ(end.calls_queued, 0U);
    EXPECT_TRUE(eventually([&] { return pool.snapshot().shared_used_bytes == 0; }));
  }
  EXPECT_EQ(held().descriptors, before.descriptors);
  EXPECT_EQ(held().mappings, before.mappings);
  EXPECT_EQ(held().threads, before.threads);
  EXPECT_FALSE(held().children);
  EXPECT_TRUE(std::filesystem::is_empty(folder)) << "a call was begun after it had ended";
  std::filesystem::remove_all(folder);

  for (const auto& [what, count] : tally.ends) std::printf("  %-16s %zu\n", what.c_str(), count);
  for (const WorkerExit exit : kAllWorkerExits) {
    std::printf("  workers %-12s %zu\n", std::string(to_string(exit)).c_str(),
                testing::count(end, exit));
  }
  std::printf("  requeued %llu, retried %llu\n",
              static_cast<unsigned long long>(end.calls_requeued),
              static_cast<unsigned long long>(end.calls_retried));
  EXPECT_GT(tally.ends["e done"], 10U) << "in the midst of it, calls got through";
  for (std::size_t i = 0; i < std::min<std::size_t>(tally.wrong.size(), 20); ++i) {
    ADD_FAILURE() << tally.wrong[i];
  }
}

/// Under a sanitizer, which finds what it finds early, and whose suites have less time.
constexpr bool kSanitized = sizeof(STREAMGATE_TEST_SANITIZER) > 1;

TEST(WorkersInChaos, SlowEveryCallHasOneRightEndAndNothingIsLeft) {
  run_chaos(kSanitized ? 8s : 60s);
}
TEST(WorkersInChaos, LongEveryCallHasOneRightEndAndNothingIsLeft) { run_chaos(600s); }

}  // namespace
}  // namespace streamgate::executor
