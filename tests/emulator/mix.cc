// SPDX-License-Identifier: Apache-2.0
//
// streamgate_emulator_mix MODEL TASKS [--without-gate]: 16 threads keep tasks of every class coming
// at an executor on the emulated Metal, whose limits are the fault model's safe widths, or are of
// no use. Prints how many were right and the mean width of each class. Exits with 0 when every task
// ended well with the right result, 3 when one was wrong; dies when the device does.
#include <streamgate/executor.h>
#include <streamgate/executor/backends/emulator.h>
#include <streamgate/policies/shipped_fault_models.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace emulator = streamgate::executor::emulator;
using streamgate::Config;
using streamgate::Executor;
using streamgate::Outcome;
using streamgate::Result;
using streamgate::policies::FaultModel;
using streamgate::policies::index_of;
using streamgate::policies::kAllOpClasses;
using streamgate::policies::kLanes;
using streamgate::policies::kOpClasses;
using streamgate::policies::OpClass;
using streamgate::policies::OpClassSet;

constexpr std::size_t kThreads = 16;
/// Of a class that any width is safe for.
constexpr std::array<std::size_t, kOpClasses> kWidest = {32, 8, 8, 1};
/// Tasks of each lane that one thread has under way. 16 times as many wait for permits: every gate
/// always has somebody to let in.
constexpr std::array<std::size_t, kLanes> kWindow = {8, 2, 2, 1, 0};
/// One task in so many is exclusive.
constexpr std::uint64_t kExclusiveEvery = 20'000;

/// One place in a thread's window, for one task after the other.
struct Slot {
  std::size_t lane = 0;
  float seed = 0;
  std::array<float, 32> input{};
  std::array<float, 8> output{};
  Outcome outcome = Outcome::kOk;
};

/// Real maths, if few: each output is the sum of the input weighted by its distance.
void compute(const std::array<float, 32>& input, std::array<float, 8>& output) {
  for (std::size_t o = 0; o < output.size(); ++o) {
    float sum = 0;
    for (std::size_t i = 0; i < input.size(); ++i) {
      sum += input[i] * static_cast<float>(1 + (i + o) % 7);
    }
    output[o] = sum;
  }
}

struct Accounts {
  std::uint64_t tasks;
  std::atomic<std::uint64_t> issued{0};
  std::atomic<std::uint64_t> right{0};
  std::atomic<std::uint64_t> wrong{0};
};

/// One of the 16: fills its window, and fills it again as tasks end.
class Producer {
 public:
  Producer(Executor& executor, Accounts& accounts) : executor_(executor), accounts_(accounts) {}

  void run() {
    std::deque<Slot> slots;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      for (std::size_t i = 0; i < kWindow[lane]; ++i) {
        slots.emplace_back().lane = lane;
        if (issue(slots.back())) ++under_way_;
      }
    }
    while (under_way_ != 0) {
      Slot& slot = wait_for_one();
      judge(slot);
      if (!issue(slot)) --under_way_;
    }
  }

 private:
  bool issue(Slot& slot) {
    const std::uint64_t number = accounts_.issued.fetch_add(1, std::memory_order_relaxed);
    if (number >= accounts_.tasks) return false;
    const OpClassSet classes = number % kExclusiveEvery == 0 ? OpClassSet(OpClass::kExclusive)
                                                             : OpClassSet::from_lane(slot.lane);
    std::iota(slot.input.begin(), slot.input.end(), static_cast<float>(number % 1000));
    slot.output.fill(-1);
    auto ran = executor_.submit({.op_class = classes}, [&slot, classes] {
      emulator::encode(classes, "mix", std::as_writable_bytes(std::span(slot.output)),
                       [&slot] { compute(slot.input, slot.output); });
    });
    static_cast<void>(std::move(ran).then([this, &slot](Result<void> result) {
      slot.outcome = result.outcome();
      {
        const std::lock_guard lock(mutex_);
        ended_.push_back(&slot);
      }
      changed_.notify_one();
    }));
    return true;
  }

  Slot& wait_for_one() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ended_.empty(); });
    Slot& slot = *ended_.front();
    ended_.pop_front();
    return slot;
  }

  void judge(const Slot& slot) {
    std::array<float, 8> expected{};
    compute(slot.input, expected);
    const bool good = slot.outcome == Outcome::kOk && slot.output == expected;
    (good ? accounts_.right : accounts_.wrong).fetch_add(1, std::memory_order_relaxed);
  }

  Executor& executor_;
  Accounts& accounts_;
  std::size_t under_way_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Slot*> ended_;
};

Config config_for(const FaultModel& model, bool gated) {
  Config config;
  config.executor.threads = 2;
  config.executor.intra_op_threads = 1;
  config.executor.streams = 64;
  for (const OpClass c : kAllOpClasses) {
    auto& gate = config.gates[index_of(c)];
    const auto safe = model.classes[index_of(c)].safe_threads;
    gate.ceiling = c == OpClass::kExclusive ? 1 : gated && safe ? *safe : kWidest[index_of(c)];
    gate.limit = gate.ceiling;
  }
  return config;
}

/// Permit-seconds over the time that the run took.
double mean_width(const streamgate::Snapshot& snapshot, OpClass op_class, double seconds) {
  double held = 0;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    if (!OpClassSet::from_lane(lane).contains(op_class)) continue;
    held += std::chrono::duration<double>(snapshot.lanes[lane].run.sum).count();
  }
  return held / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: streamgate_emulator_mix MODEL TASKS [--without-gate]\n", stderr);
    return 2;
  }
  const bool gated = argc < 4 || std::string_view(argv[3]) != "--without-gate";
  FaultModel model = streamgate::policies::find_fault_model(argv[1]);
  // Its faults as they are; its times such that a million tasks end soon.
  model.device = {.streams = 64, .encode = 0us, .execute = 600us, .parallel = 64};

  const Config config = config_for(model, gated);
  streamgate::ExecutorOptions options{
      .config = config, .backend = streamgate::executor::make_emulator_backend({.model = model})};
  if (gated) {
    for (const auto& pair : model.incompatible) options.incompatible.emplace_back(pair.a, pair.b);
  }
  Executor executor(std::move(options));

  Accounts accounts{.tasks = std::stoull(argv[2])};
  const auto start = std::chrono::steady_clock::now();
  // They live until the executor has come to rest, as the last continuations are theirs.
  std::deque<Producer> producers;
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      Producer& producer = producers.emplace_back(executor, accounts);
      threads.emplace_back([&producer] { producer.run(); });
    }
    threads.clear();  // Joins them.
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  if (!executor.drain(streamgate::Drain::kFinish, 30s).drained) return 4;

  std::printf("%s: %llu right, %llu wrong in %.1f s\n", argv[1],
              static_cast<unsigned long long>(accounts.right.load()),
              static_cast<unsigned long long>(accounts.wrong.load()), took.count());
  const streamgate::Snapshot snapshot = executor.snapshot();
  for (const OpClass c : kAllOpClasses) {
    std::printf("width %s %.3f of %zu\n", std::string(to_string(c)).c_str(),
                mean_width(snapshot, c, took.count()), config.gates[index_of(c)].ceiling);
  }
  return accounts.wrong == 0 && accounts.right == accounts.tasks ? 0 : 3;
}
