// SPDX-License-Identifier: Apache-2.0
//
// The promises of the collector, on snapshots made by hand: the table and nothing else, the
// snapshot's numbers, histograms that add up, several executors in one scrape, and removal that
// nobody scrapes behind.
#include <streamgate/metrics/collector.h>
#include <streamgate/metrics/metric_table.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <future>
#include <latch>
#include <limits>
#include <map>
#include <memory>
#include <semaphore>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "example_snapshot.h"

namespace streamgate::metrics {
namespace {

using namespace std::chrono_literals;

constexpr auto kGuard = 20s;

void add_example(Collector& collector, std::string name = "default") {
  collector.add(std::move(name), example_provenance(), example_snapshot);
}

TEST(Collector, FamiliesOfAScrapeAreThoseOfTheTable) {
  Collector collector;
  add_example(collector);
  const testing::Scrape found = scrape(collector);
  std::vector<std::string> expected;
  for (const Metric& metric : metric_table()) {
    expected.emplace_back(metric.name);
    EXPECT_EQ(found.types.at(expected.back()), to_string(metric.type));
    EXPECT_EQ(found.help.at(expected.back()), metric.help);
  }
  EXPECT_EQ(found.families, expected);
}

TEST(Collector, SeriesAreUnique) {
  Collector collector;
  add_example(collector, "a");
  add_example(collector, "b");
  const testing::Scrape found = scrape(collector);
  EXPECT_EQ(found.series.size(), found.names.size());
}

TEST(Collector, ValuesAreThoseOfTheSnapshot) {
  Collector collector;
  add_example(collector);
  const testing::Scrape found = scrape(collector);
  const std::map<std::string, double> expected = {
      {R"(streamgate_tasks_total{executor="default",class="raw",outcome="ok",reason=""})", 1000},
      {R"(streamgate_tasks_total{executor="default",class="raw",outcome="rejected",reason="queue_full"})",
       1001},
      {R"(streamgate_tasks_total{executor="default",class="kernel",outcome="rejected",reason="shutdown"})",
       2004},
      {R"(streamgate_tasks_total{executor="default",class="graph",outcome="expired",reason=""})",
       3007},
      {R"(streamgate_tasks_total{executor="default",class="kernel+graph",outcome="cancelled",reason=""})",
       4008},
      {R"(streamgate_tasks_total{executor="default",class="exclusive",outcome="failed",reason=""})",
       5010},
      {R"(streamgate_queue_tasks{executor="default"})", 51},
      {R"(streamgate_queue_bytes{executor="default"})", 52},
      {R"(streamgate_queue_max_tasks{executor="default"})", 53},
      {R"(streamgate_queue_max_bytes{executor="default"})", 54},
      {R"(streamgate_queue_class_tasks{executor="default",class="raw"})", 10},
      {R"(streamgate_queue_class_tasks{executor="default",class="exclusive"})", 14},
      {R"(streamgate_memory_budget_bytes{executor="default"})", 171},
      {R"(streamgate_memory_room_bytes{executor="default"})", 172},
      {R"(streamgate_memory_free_bytes{executor="default"})", 173},
      {R"(streamgate_memory_reserved_bytes{executor="default"})", 174},
      {R"(streamgate_memory_waiting_tasks{executor="default"})", 175},
      {R"(streamgate_memory_overtakes_total{executor="default"})", 176},
      {R"(streamgate_memory_measured_total{executor="default"})", 177},
      {R"(streamgate_memory_exceeded_total{executor="default"})", 178},
      {R"(streamgate_gate_in_use{executor="default",class="raw"})", 20},
      {R"(streamgate_gate_in_use{executor="default",class="exclusive"})", 23},
      {R"(streamgate_gate_limit{executor="default",class="kernel"})", 31},
      {R"(streamgate_gate_ceiling{executor="default",class="graph"})", 42},
      {R"(streamgate_gate_policy_info{executor="default",class="graph",policy="p2"})", 1},
      {R"(streamgate_gate_wanted_limit{executor="default",class="graph"})", 44},
      {R"(streamgate_gate_shadow{executor="default",class="raw"})", 0},
      {R"(streamgate_gate_shadow{executor="default",class="graph"})", 1},
      {R"(streamgate_gate_knee{executor="default",class="graph"})", 45},
      {R"(streamgate_gate_knee_low{executor="default",class="graph"})", 46},
      {R"(streamgate_gate_knee_high{executor="default",class="graph"})", 47},
      {R"(streamgate_gate_knee_age_seconds{executor="default",class="graph"})", 48.5},
      {R"(streamgate_gate_decisions_total{executor="default",class="graph",reason="enough"})", 49},
      {R"(streamgate_limits_state{executor="default",state="none"})", 0},
      {R"(streamgate_limits_state{executor="default",state="used"})", 0},
      {R"(streamgate_limits_state{executor="default",state="mismatch"})", 1},
      {R"(streamgate_unknown_operations_total{executor="default"})", 57},
      {R"(streamgate_streams_slots{executor="default"})", 61},
      {R"(streamgate_streams_opened{executor="default"})", 62},
      {R"(streamgate_streams_leased{executor="default"})", 63},
      {R"(streamgate_streams_exhausted_total{executor="default"})", 64},
      {R"(streamgate_arena_threads{executor="default"})", 71},
      {R"(streamgate_arena_tickets{executor="default"})", 72},
      {R"(streamgate_arena_intra_op_threads{executor="default"})", 73},
      {R"(streamgate_arena_raised_global_limit{executor="default"})", 1},
      {R"(streamgate_overflow_decisions_total{executor="default",reason="room"})", 130},
      {R"(streamgate_overflow_decisions_total{executor="default",reason="baseline"})", 140},
      {R"(streamgate_overflow_calls_total{executor="default",outcome="ok"})", 150},
      {R"(streamgate_overflow_calls_total{executor="default",outcome="worker_died"})", 159},
      {R"(streamgate_overflow_returned_total{executor="default"})", 161},
      {R"(streamgate_overflow_away{executor="default"})", 162},
      {R"(streamgate_graph_calls_total{executor="default",way="replay"})", 171},
      {R"(streamgate_graph_calls_total{executor="default",way="eager"})", 172},
      {R"(streamgate_graph_captures_total{executor="default",result="captured"})", 173},
      {R"(streamgate_graph_captures_total{executor="default",result="failed"})", 174},
      {R"(streamgate_graph_captures_total{executor="default",result="deferred"})", 175},
      {R"(streamgate_graph_evicted_total{executor="default"})", 176},
      {R"(streamgate_graphs{executor="default"})", 177},
      {R"(streamgate_graph_bytes{executor="default"})", 178},
      {R"(streamgate_graph_max_bytes{executor="default"})", 179},
      {R"(streamgate_overflow_gain{executor="default"})", 1.75},
      {R"(streamgate_overflow_quarantined{executor="default"})", 3},
      {R"(streamgate_workers{executor="default",state="starting"})", 91},
      {R"(streamgate_workers{executor="default",state="ending"})", 94},
      {R"(streamgate_worker_starts_total{executor="default"})", 101},
      {R"(streamgate_worker_exits_total{executor="default",cause="stopped"})", 110},
      {R"(streamgate_worker_exits_total{executor="default",cause="start_failed"})", 118},
      {R"(streamgate_worker_start_seconds_sum{executor="default"})", 3.5},
      {R"(streamgate_worker_breaker_open{executor="default"})", 1},
      {R"(streamgate_worker_calls_queued{executor="default"})", 102},
      {R"(streamgate_worker_calls_total{executor="default"})", 103},
      {R"(streamgate_worker_calls_requeued_total{executor="default"})", 104},
      {R"(streamgate_worker_calls_retried_total{executor="default"})", 105},
      {R"(streamgate_worker_memory_bytes{executor="default"})", 106},
      {R"(streamgate_worker_shared_reserved_bytes{executor="default"})", 107},
      {R"(streamgate_worker_shared_used_bytes{executor="default"})", 108},
      {R"(streamgate_worker_moved_bytes_total{executor="default",direction="sent"})", 109},
      {R"(streamgate_worker_moved_bytes_total{executor="default",direction="received"})", 120},
      {R"(streamgate_config_reloads_total{executor="default",result="applied"})", 81},
      {R"(streamgate_config_reloads_total{executor="default",result="failed"})", 82},
      {R"(streamgate_config_last_reload_successful{executor="default"})", 0},
      {R"(streamgate_config_keys_for_restart{executor="default"})", 83},
      {R"(streamgate_task_wait_seconds_sum{executor="default",class="raw"})", 1.5},
      {R"(streamgate_task_run_seconds_sum{executor="default",class="raw"})", 2.5},
  };
  for (const auto& [name, value] : expected) {
    ASSERT_TRUE(found.has(name)) << name;
    EXPECT_EQ(found.at(name), value) << name;
  }
}

TEST(Collector, BuildInfoSaysWhichLibrariesAndDevice) {
  Collector collector;
  add_example(collector);
  const testing::Scrape found = scrape(collector);
  const auto info = std::find_if(found.series.begin(), found.series.end(), [](const auto& series) {
    return series.first.starts_with("streamgate_build_info{");
  });
  ASSERT_NE(info, found.series.end());
  EXPECT_EQ(info->second, 1);
  EXPECT_TRUE(info->first.ends_with(R"(,libtorch="2.6.0",backend="cpu",device="EPYC"})"))
      << info->first;
  EXPECT_EQ(info->first.find(R"(version="")"), info->first.npos) << info->first;
}

TEST(Collector, CountersOfEveryClassAndOutcomeStartAtZero) {
  Collector collector;
  collector.add("idle", {}, [] { return executor::Snapshot{}; });
  const testing::Scrape found = scrape(collector);
  EXPECT_EQ(found.count("streamgate_tasks_total{"), policies::kLanes * executor::kOutcomes);
  EXPECT_EQ(found.count("streamgate_config_reloads_total{"), 2U);
  for (const auto& [name, value] : found.series) {
    if (name.find("_total{") != name.npos) {
      EXPECT_EQ(value, 0) << name;
    }
  }
}

TEST(Collector, HistogramsAreOfClassesInWhichATaskRanOnly) {
  Collector collector;
  add_example(collector);
  collector.add("idle", {}, [] { return executor::Snapshot{}; });
  collector.add("torn", {}, [] {
    executor::Snapshot snapshot;
    snapshot.lanes[1].wait.counts[0] = 1;  // Seen waiting, not yet seen running.
    return snapshot;
  });
  const testing::Scrape found = scrape(collector);
  for (const std::string name : {"streamgate_task_wait_seconds", "streamgate_task_run_seconds"}) {
    EXPECT_EQ(found.count(name + "_count{executor=\"default\""), 2U) << name;
    EXPECT_TRUE(found.has(name + R"(_count{executor="default",class="raw"})")) << name;
    EXPECT_TRUE(found.has(name + R"(_count{executor="default",class="kernel+graph"})")) << name;
    EXPECT_EQ(found.count(name + "_count{executor=\"idle\""), 0U) << name;
    EXPECT_EQ(found.count(name + "_count{executor=\"torn\""), 1U) << name;
    EXPECT_TRUE(found.has(name + R"(_count{executor="torn",class="kernel"})")) << name;
  }
}

TEST(Collector, HistogramsAreCumulativeAndTheirCountIsTheInfiniteBuckets) {
  Collector collector;
  add_example(collector);
  const executor::Snapshot snapshot = example_snapshot();
  std::size_t histograms = 0;
  for (const prometheus::MetricFamily& family : collector.Collect()) {
    if (family.type != prometheus::MetricType::Histogram) continue;
    for (const prometheus::ClientMetric& metric : family.metric) {
      ++histograms;
      const bool is_raw = metric.label.size() > 1 && metric.label[1].value == "raw";
      const executor::LaneSnapshot& lane = snapshot.lanes[is_raw ? 0 : 3];
      const executor::DurationHistogram& durations =
          family.name == "streamgate_worker_start_seconds" ? snapshot.workers.start_time
          : family.name == "streamgate_task_wait_seconds"  ? lane.wait
                                                           : lane.run;
      const auto& buckets = metric.histogram.bucket;
      ASSERT_EQ(buckets.size(), executor::kDurationBounds + 1);
      std::uint64_t below = 0;
      for (std::size_t i = 0; i < buckets.size(); ++i) {
        EXPECT_EQ(buckets[i].cumulative_count - below, durations.counts[i]) << family.name << i;
        if (i > 0) {
          EXPECT_GT(buckets[i].upper_bound, buckets[i - 1].upper_bound);
        }
        below = buckets[i].cumulative_count;
      }
      EXPECT_EQ(buckets.back().upper_bound, std::numeric_limits<double>::infinity());
      EXPECT_EQ(metric.histogram.sample_count, below);
      EXPECT_DOUBLE_EQ(metric.histogram.sample_sum,
                       std::chrono::duration<double>(durations.sum).count());
    }
  }
  EXPECT_EQ(histograms, 5U);
}

TEST(Collector, BoundsOfBucketsReadAsTheyAreTyped) {
  Collector collector;
  add_example(collector);
  const testing::Scrape found = scrape(collector);
  const std::string prefix =
      R"(streamgate_task_run_seconds_bucket{executor="default",class="raw",le=")";
  for (const char* bound : {"1e-06", "2.5e-06", "5e-05", "0.001", "0.25", "1", "100", "+Inf"}) {
    EXPECT_TRUE(found.has(prefix + bound + "\"}")) << bound;
  }
  EXPECT_EQ(found.count(prefix), executor::kDurationBounds + 1);
}

TEST(Collector, SeveralExecutorsShareEachFamily) {
  Collector collector;
  add_example(collector, "training");
  collector.add("serving", {}, [] {
    executor::Snapshot snapshot;
    snapshot.queue.tasks = 7;
    return snapshot;
  });
  const testing::Scrape found = scrape(collector);
  EXPECT_EQ(found.families.size(), metric_table().size()) << "a family may appear only once";
  EXPECT_EQ(found.at(R"(streamgate_queue_tasks{executor="training"})"), 51);
  EXPECT_EQ(found.at(R"(streamgate_queue_tasks{executor="serving"})"), 7);
}

TEST(Collector, EveryScrapeTakesOneSnapshotOfEachExecutor) {
  Collector collector;
  int taken = 0;
  collector.add("default", {}, [&] {
    ++taken;
    return executor::Snapshot{};
  });
  EXPECT_EQ(taken, 0);
  (void)collector.Collect();
  (void)collector.Collect();
  EXPECT_EQ(taken, 2);
}

TEST(Collector, ANameThatIsTakenOrUnfitIsRefusedAndChangesNothing) {
  Collector collector;
  add_example(collector, "a");
  EXPECT_THROW(add_example(collector, "a"), std::invalid_argument);
  for (const std::string& name : {std::string(), std::string(65, 'x'), std::string("a\nb"),
                                  std::string("\xff"), std::string("a\0b", 3)}) {
    EXPECT_THROW(add_example(collector, name), std::invalid_argument) << name;
  }
  EXPECT_THROW(collector.add("b", {}, nullptr), std::invalid_argument);
  EXPECT_EQ(scrape(collector).count("streamgate_build_info"), 1U);
}

TEST(Collector, ANameWithQuotesIsEscaped) {
  Collector collector;
  add_example(collector, R"(a"b\c)");
  EXPECT_TRUE(scrape(collector).has(R"(streamgate_queue_tasks{executor="a\"b\\c"})"));
}

TEST(Collector, BytesThatPrometheusRefusesAreReplacedInADevicesName) {
  Collector collector;
  executor::Provenance provenance = example_provenance();
  provenance.device = "GPU\xff\n";
  collector.add("default", provenance, example_snapshot);
  EXPECT_NE(scrape_text(collector).find(R"(device="GPU??")"), std::string::npos);
}

TEST(Collector, AFailingSnapshotCostsOnlyItsOwnExecutorAndOnlyThatScrape) {
  Collector collector;
  bool fails = true;
  collector.add("bad", {}, [&]() -> executor::Snapshot {
    if (fails) throw 42;
    return {};
  });
  add_example(collector, "good");
  testing::Scrape found = scrape(collector);
  EXPECT_TRUE(found.has(R"(streamgate_queue_tasks{executor="good"})"));
  EXPECT_FALSE(found.has(R"(streamgate_queue_tasks{executor="bad"})"));
  fails = false;
  EXPECT_TRUE(scrape(collector).has(R"(streamgate_queue_tasks{executor="bad"})"));
}

TEST(Collector, ARemovedExecutorIsNoLongerScrapedAndItsNameIsFree) {
  Collector collector;
  auto captured = std::make_shared<int>(1);
  collector.add("a", {}, [captured] { return executor::Snapshot{}; });
  collector.remove("a");
  EXPECT_EQ(captured.use_count(), 1) << "what the function captured has ended";
  EXPECT_EQ(scrape(collector).series.size(), 0U);
  EXPECT_EQ(scrape(collector).families.size(), metric_table().size());
  collector.remove("a");
  collector.remove("never there");
  add_example(collector, "a");
  EXPECT_TRUE(scrape(collector).has(R"(streamgate_queue_tasks{executor="a"})"));
}

TEST(Collector, RemoveWaitsForTheSnapshotInProgress) {
  Collector collector;
  std::latch entered(1);
  std::binary_semaphore leave(0);
  std::atomic<bool> left = false;
  collector.add("a", {}, [&] {
    entered.count_down();
    (void)leave.try_acquire_for(kGuard);
    left = true;
    return executor::Snapshot{};
  });
  std::jthread scraper([&] { (void)collector.Collect(); });
  entered.wait();
  std::atomic<bool> left_when_removed = false;
  auto removed = std::async(std::launch::async, [&] {
    collector.remove("a");
    left_when_removed = left.load();
  });
  // No event tells that remove waits. A remove that does not is over by now, nearly always.
  EXPECT_EQ(removed.wait_for(50ms), std::future_status::timeout);
  leave.release();
  ASSERT_EQ(removed.wait_for(kGuard), std::future_status::ready);
  EXPECT_TRUE(left_when_removed);
}

TEST(Collector, AnExecutorRemovedDuringAScrapeIsNotReadLaterInIt) {
  Collector collector;
  std::latch entered(1);
  std::binary_semaphore leave(0);
  std::atomic<bool> read = false;
  collector.add("first", {}, [&] {
    entered.count_down();
    (void)leave.try_acquire_for(kGuard);
    return executor::Snapshot{};
  });
  collector.add("second", {}, [&] {
    read = true;
    return executor::Snapshot{};
  });
  auto scraped = std::async(std::launch::async, [&] { return scrape(collector); });
  entered.wait();
  collector.remove("second");
  leave.release();
  EXPECT_TRUE(scraped.get().has(R"(streamgate_queue_tasks{executor="first"})"));
  EXPECT_FALSE(read);
}

TEST(Collector, NoLockIsHeldWhileASnapshotIsTaken) {
  Collector collector;
  std::latch entered(1);
  std::binary_semaphore leave(0);
  std::atomic<int> taken = 0;
  collector.add("slow", {}, [&] {
    if (taken++ == 0) {
      entered.count_down();
      EXPECT_TRUE(leave.try_acquire_for(kGuard)) << "another caller was held up";
    }
    return executor::Snapshot{};
  });
  std::jthread scraper([&] { (void)collector.Collect(); });
  entered.wait();
  add_example(collector, "other");
  (void)collector.Collect();
  collector.remove("other");
  leave.release();
}

TEST(Collector, ScrapesAddsAndRemovesFromManyThreadsNeverReadARemovedExecutor) {
  Collector collector;
  std::atomic<bool> stop = false;
  std::atomic<std::size_t> taken = 0;
  std::atomic<std::size_t> taken_after_removal = 0;
  add_example(collector, "steady");
  std::vector<std::jthread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        if (!scrape(collector).has(R"(streamgate_queue_tasks{executor="steady"})")) {
          ADD_FAILURE() << "the executor that stays was left out of a scrape";
        }
      }
    });
  }
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, name = "n" + std::to_string(i)] {
      for (int round = 0; round < 500; ++round) {
        // A function that outlives what it reads would read it after its end.
        std::atomic<bool> alive = true;
        collector.add(name, {}, [&] {
          if (!alive) ++taken_after_removal;
          ++taken;
          return example_snapshot();
        });
        (void)collector.Collect();
        collector.remove(name);
        alive = false;
      }
    });
  }
  for (std::size_t i = 2; i < threads.size(); ++i) threads[i].join();
  stop = true;
  threads.clear();
  EXPECT_GE(taken, 1000U);
  EXPECT_EQ(taken_after_removal, 0U);
}

}  // namespace
}  // namespace streamgate::metrics
