// SPDX-License-Identifier: Apache-2.0
//
// The ways of serving, and their turns. Why every client thread begins with libtorch's own number
// of intra-op threads: an executor sets that on the threads that run its tasks, and libtorch gives
// what was set last to threads that come to it later.
#include "bench/measure.h"

#include <streamgate/executor/executor.h>
#include <streamgate/executor/probe/statistics.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "bench/clients.h"

namespace streamgate::tools {
namespace {

using executor::Executor;

constexpr std::size_t kColdSlices = 20;

std::chrono::nanoseconds nanoseconds_of(double seconds) {
  return std::chrono::nanoseconds(std::llround(seconds * 1e9));
}

std::size_t cores() { return std::max(1U, std::thread::hardware_concurrency()); }

/// One executor for each split of the cores; its limit is moved from turn to turn.
std::unique_ptr<Executor> make_static(const policies::Config& config, std::size_t intra_op_threads,
                                      std::size_t max_width) {
  policies::Config fixed = config;
  fixed.executor.intra_op_threads = intra_op_threads;
  fixed.executor.threads = std::max<std::size_t>(1, cores() / intra_op_threads);
  fixed.executor.adapt_intra_op = false;
  fixed.executor.allow_oversubscription = true;
  fixed.executor.streams = std::max(fixed.executor.streams, max_width);
  for (policies::GateConfig& gate : fixed.gates) {
    gate.policy = "fixed";
    gate.limit = 0;
  }
  return std::make_unique<Executor>(executor::ExecutorOptions{.config = fixed});
}

/// The most that a class of the model may have at once there.
std::size_t ceiling_of(const Executor& executor, policies::OpClassSet classes) {
  std::size_t ceiling = SIZE_MAX;
  const executor::Snapshot snapshot = executor.snapshot();
  for (const policies::OpClass op_class : policies::kAllOpClasses) {
    if (!classes.contains(op_class)) continue;
    ceiling = std::min(ceiling, snapshot.gates[index_of(op_class)].ceiling);
  }
  return ceiling;
}

void set_limit(Executor& executor, policies::OpClassSet classes, std::size_t limit) {
  for (const policies::OpClass op_class : policies::kAllOpClasses) {
    if (classes.contains(op_class)) executor.set_limit(op_class, limit);
  }
}

Way served_by(Executor& executor, const ScriptModel& model, policies::OpClassSet classes,
              std::size_t first_threads) {
  return {.prepare_thread = [first_threads] { set_intra_op_threads(first_threads); },
          .serve =
              [&executor, &model, options = executor::TaskOptions{.op_class = classes}] {
                static_cast<void>(executor.run(options, [&] { model.run(); }));
              }};
}

struct Turn {
  std::string name;
  Series* series;
  Way way;
  std::function<void()> before;
};

/// The smallest width, with the best point's intra-op threads, that is within 5 % of it.
std::size_t knee_of(const BenchRun& run) {
  const BenchPoint& best = run.curve[run.best];
  std::vector<policies::Throughput> curve;
  for (const BenchPoint& point : run.curve) {
    if (point.intra_op_threads != best.intra_op_threads) continue;
    curve.push_back({point.width, spread_of(point.series.per_second).median});
  }
  const std::size_t width = executor::probe::knee_of(curve).value_or(best.width);
  for (std::size_t i = 0; i < run.curve.size(); ++i) {
    if (run.curve[i].intra_op_threads == best.intra_op_threads && run.curve[i].width == width) {
      return i;
    }
  }
  return run.best;
}

}  // namespace

std::vector<std::size_t> widths_up_to(std::size_t most) {
  std::vector<std::size_t> widths;
  for (std::size_t width = 1; width <= most; width += std::max<std::size_t>(1, width / 3)) {
    widths.push_back(width);
  }
  return widths;
}

BenchRun measure(const ScriptModel& model, const BenchOptions& options, std::size_t clients,
                 const OnTurn& on_turn) {
  // Before an executor has run anything: what the plain ways, and every new thread, begin with.
  static const std::size_t first_threads = default_intra_op_threads();
  BenchRun run{.clients = clients};
  const std::size_t widest = std::min(options.max_width, clients);

  Executor adaptive({.config = options.config});
  const policies::OpClassSet classes = model.classes(adaptive.classifier());
  const bool splits = adaptive.config().executor.backend == "cpu";
  std::vector<std::unique_ptr<Executor>> executors;
  std::vector<Turn> turns;
  for (std::size_t threads = 1; threads <= (splits ? cores() : 1); threads *= 2) {
    const Executor& executor =
        *executors.emplace_back(make_static(options.config, threads, widest));
    // With more threads than that waiting for each other inside operations, throughput falls by up
    // to 200 times (facts 3): never the best, and a turn of many clients would take minutes.
    const std::size_t useful =
        threads == 1 ? widest : std::max<std::size_t>(1, 2 * cores() / threads);
    const std::size_t most = std::min({widest, useful, ceiling_of(executor, classes)});
    for (const std::size_t width : widths_up_to(most)) {
      run.curve.push_back({.intra_op_threads = threads, .width = width});
    }
  }
  std::size_t point_index = 0;
  for (const std::unique_ptr<Executor>& each : executors) {
    Executor* const executor = each.get();
    const std::size_t threads = executor->config().executor.intra_op_threads;
    for (; point_index < run.curve.size() && run.curve[point_index].intra_op_threads == threads;
         ++point_index) {
      BenchPoint& point = run.curve[point_index];
      turns.push_back({.name = std::to_string(point.width) + " x " + std::to_string(threads),
                       .series = &point.series,
                       .way = served_by(*executor, model, classes, first_threads),
                       .before = [executor, classes, width = point.width] {
                         set_limit(*executor, classes, width);
                       }});
    }
  }
  const auto take_turns = [&](const std::vector<Turn>& all) {
    for (std::size_t round = 1; round <= options.rounds; ++round) {
      for (std::size_t i = 0; i < all.size(); ++i) {
        // Each round begins elsewhere, lest the same two are always neighbours.
        const Turn& turn = all[(i + round * 3) % all.size()];
        on_turn(round, turn.name);
        turn.before();
        turn.series->per_second.push_back(
            requests_per_second(turn.way, clients, nanoseconds_of(options.seconds), 1).front());
      }
    }
  };
  take_turns(turns);
  const auto median = [](const BenchPoint& point) {
    return spread_of(point.series.per_second).median;
  };
  run.best =
      static_cast<std::size_t>(std::max_element(run.curve.begin(), run.curve.end(),
                                                [&](const BenchPoint& a, const BenchPoint& b) {
                                                  return median(a) < median(b);
                                                }) -
                               run.curve.begin());

  std::mutex one_at_a_time;
  const auto prepare = [] { set_intra_op_threads(first_threads); };
  const auto nothing = [] {};
  const Way adaptively = served_by(adaptive, model, classes, first_threads);
  Turn best = turns[run.best];
  best.series = &run.best_again;
  on_turn(0, "cold start");
  run.cold_slice_seconds = options.settle_seconds / static_cast<double>(kColdSlices);
  run.cold_start =
      requests_per_second(adaptively, clients, nanoseconds_of(run.cold_slice_seconds), kColdSlices);
  take_turns({std::move(best),
              {"adaptive", &run.adaptive, adaptively, nothing},
              {"plain threads", &run.plain, {prepare, [&] { model.run(); }}, nothing},
              {"global mutex",
               &run.mutex,
               {prepare,
                [&] {
                  const std::lock_guard lock(one_at_a_time);
                  model.run();
                }},
               nothing}});
  run.knee = knee_of(run);
  const executor::Snapshot snapshot = adaptive.snapshot();
  for (const policies::OpClass op_class : policies::kAllOpClasses) {
    if (classes.contains(op_class)) run.gate = snapshot.gates[index_of(op_class)];
  }
  run.adaptive_intra_op_threads = snapshot.arena.intra_op_threads;
  return run;
}

}  // namespace streamgate::tools
