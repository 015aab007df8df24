// SPDX-License-Identifier: Apache-2.0
//
// One of four workers is killed under full load: how long until as much gets through as before, and
// what the tasks of the other three notice of it.
#include <benchmark/benchmark.h>

#include <ATen/ATen.h>
#include <ATen/core/ivalue_inl.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "bench_operators.h"

namespace streamgate::bench {
namespace {

using namespace std::chrono_literals;
using c10::IValue;
using std::chrono::duration;
using std::chrono::nanoseconds;
using TimePoint = std::chrono::steady_clock::time_point;

constexpr std::size_t kWorkers = 4;
constexpr std::size_t kClients = 8;  // There is always a call that waits.
constexpr std::chrono::microseconds kExecute = 5ms;
constexpr nanoseconds kWindow = 100ms;

/// One call that ended.
struct Seen {
  TimePoint begun{};
  TimePoint ended{};
  std::int64_t process = 0;
};

struct Load {
  explicit Load(Executor& executor) {
    for (std::size_t i = 0; i < kClients; ++i) {
      clients.emplace_back([this, &executor, i](const std::stop_token& stop) {
        const Operation step = executor.operation(kDeviceStep);
        const std::vector<IValue> inputs = {at::ones({1}), IValue(std::int64_t{kExecute.count()})};
        while (!stop.stop_requested()) {
          const auto result = executor.run(step, inputs, {.place = Place::kWorker});
          if (!result.ok()) {
            ++lost;
            continue;
          }
          const auto& elements = result->toTupleRef().elements();
          a_worker = elements[1].toInt();
          seen[i].push_back({.begun = TimePoint(nanoseconds(elements[0].toInt())),
                             .ended = std::chrono::steady_clock::now(),
                             .process = elements[1].toInt()});
        }
      });
    }
  }
  /// All that ended, by the time that it did.
  std::vector<Seen> end() {
    clients.clear();
    std::vector<Seen> all;
    for (const auto& of : seen) all.insert(all.end(), of.begin(), of.end());
    std::sort(all.begin(), all.end(),
              [](const Seen& a, const Seen& b) { return a.ended < b.ended; });
    return all;
  }

  std::atomic<std::size_t> lost{0};
  std::atomic<std::int64_t> a_worker{0};  ///< The one that answered last.
  std::array<std::vector<Seen>, kClients> seen;
  std::vector<std::jthread> clients;
};

std::size_t ended_within(const std::vector<Seen>& all, TimePoint from, nanoseconds time) {
  return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [&](const Seen& each) {
    return each.ended >= from && each.ended < from + time;
  }));
}

/// From being begun in a worker to its result here: what a task is slowed down by. How long it
/// waits for one of three workers instead of four is not in it.
double p99_ms(const std::vector<Seen>& all, TimePoint from, TimePoint to) {
  std::vector<double> times;
  for (const Seen& each : all) {
    if (each.ended < from || each.ended >= to) continue;
    times.push_back(duration<double, std::milli>(each.ended - each.begun).count());
  }
  if (times.empty()) return 0;
  const auto at = times.begin() + static_cast<std::ptrdiff_t>(times.size() * 99 / 100);
  std::nth_element(times.begin(), at, times.end());
  return *at;
}

void wait_until(TimePoint time) { std::this_thread::sleep_until(time); }

void worker_recovery(benchmark::State& state) {
  Config config;
  config.executor.threads = 1;
  config.overflow.arena_bytes = std::size_t{1} << 20;
  const std::unique_ptr<Executor> executor = make_executor(std::move(config), kWorkers);
  for (auto _ : state) {
    Load load(*executor);
    const auto began = std::chrono::steady_clock::now();
    wait_until(began + 2s);
    const auto starts = executor->snapshot().workers.start_time;
    const auto killed = std::chrono::steady_clock::now();
    kill(static_cast<pid_t>(load.a_worker.load()), SIGKILL);
    wait_until(killed + 4s);
    const std::vector<Seen> all = load.end();

    const TimePoint steady = began + 500ms;
    const double before = static_cast<double>(ended_within(all, steady, killed - steady)) /
                          duration<double>(killed - steady).count();
    const double enough = 0.95 * before * duration<double>(kWindow).count();
    TimePoint back = killed;
    // The first window from which on it is as before; the windows slide by a tenth of their length.
    for (bool dipped = false; back < killed + 3s; back += kWindow / 10) {
      const auto ended = static_cast<double>(ended_within(all, back, kWindow));
      if (ended < enough) dipped = true;
      if (dipped && ended >= enough) break;
    }
    const auto after = executor->snapshot().workers.start_time;
    const double started = duration<double>(after.sum - starts.sum).count();
    const double recovered = duration<double>(back - killed).count();
    state.SetIterationTime(recovered);
    state.counters["start_s"] = started;
    state.counters["lost"] = static_cast<double>(load.lost);
    state.counters["calls"] = static_cast<double>(all.size());
    state.counters["p99_before_ms"] = p99_ms(all, steady, killed);
    state.counters["p99_meanwhile_ms"] = p99_ms(all, killed, back);
  }
}

BENCHMARK(worker_recovery)->UseManualTime()->Iterations(1);

}  // namespace
}  // namespace streamgate::bench
