// SPDX-License-Identifier: Apache-2.0
//
// A real Prometheus scrapes a real executor under load, and is asked every query that the project
// ships: each must return data, and the numbers must be the executor's.
#include <streamgate/executor.h>
#include <streamgate/metrics.h>
#include <streamgate/policies/limits_file.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"
#include "../support/temporary_folder.h"
#include "prometheus_server.h"
#include "queries.h"

namespace streamgate::testing {
namespace {

using executor::Outcome;

/// Looks as often as Prometheus has something new to say. False when the guard came first.
template <typename Condition>
bool after_some_scrape(Condition condition) {
  std::mutex mutex;
  std::condition_variable never;
  const auto guard = std::chrono::steady_clock::now() + kGuard;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= guard) return false;
    std::unique_lock lock(mutex);
    never.wait_for(lock, std::chrono::milliseconds(200));
  }
  return true;
}

/// An executor that has a limits file, a config file and a life: tasks of each class, of which some
/// fail, expire and are rejected.
class LoadedExecutor {
 public:
  LoadedExecutor() {
    // What provenance this is, an executor tells.
    policies::Limits limits{.provenance = Executor({.config = inline_config()}).provenance(),
                            .classes = {{.op_class = OpClass::kRaw, .ceiling = 8, .knee = 2},
                                        {.op_class = OpClass::kGraph, .ceiling = 3, .knee = 1}}};
    save_limits(limits, folder_ / "limits.toml");
    write_in_place(config_file(), config_text());
    executor_.emplace(config_file());
    for (int i = 0; i < 2; ++i) clients_.emplace_back([this] { load(); });
  }
  ~LoadedExecutor() { stop(); }

  void stop() {
    stop_ = true;
    clients_.clear();
  }
  [[nodiscard]] Executor& operator*() { return *executor_; }
  [[nodiscard]] std::filesystem::path config_file() const { return folder_ / "streamgate.toml"; }
  [[nodiscard]] std::string config_text(std::string_view more = "") const {
    return "[executor]\nbackend = 'inline'\nthreads = 2\n[limits]\nfile = '" +
           (folder_ / "limits.toml").string() + "'\n[queue]\nmax_tasks = 50\n" + std::string(more);
  }

 private:
  void load() {
    const OpClassSet both = OpClass::kKernel | OpClass::kGraph;
    while (!stop_) {
      std::vector<Future<int>> futures;
      for (const OpClassSet classes : {OpClassSet(OpClass::kRaw), OpClassSet(OpClass::kGraph), both,
                                       OpClassSet(OpClass::kExclusive)}) {
        for (int i = 0; i < 5; ++i) {
          futures.push_back(executor_->submit({.op_class = classes, .cost_bytes = 1'000}, [i] {
            if (i == 4) throw std::runtime_error("one in five fails");
            return i;
          }));
        }
      }
      auto late = executor_->submit({.deadline = Clock::now()}, [] { return 0; });
      EXPECT_EQ(late.get().outcome(), Outcome::kExpired);
      for (auto& future : futures) {
        try {
          (void)future.get();
        } catch (const std::runtime_error&) {
          ++failed_;
        }
      }
    }
  }

  const TemporaryFolder folder_;
  std::optional<Executor> executor_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> failed_{0};
  std::vector<std::jthread> clients_;
};

/// Of metrics that there are only with worker processes, or when a policy has found a knee. That they
/// come with those is tested where the metrics are.
bool may_have_nothing_to_say(const Query& query) {
  const std::set<std::string> names = metrics_in(query.text);
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name.starts_with("streamgate_worker") || name.starts_with("streamgate_overflow") ||
           name.starts_with("streamgate_gate_knee");
  });
}

TEST(Prometheus, EveryShippedQueryReturnsDataOfAnExecutorUnderLoad) {
  const std::string program = on_path("prometheus");
  if (program.empty()) {
    GTEST_SKIP() << "SKIPPED: there is no prometheus on PATH, so no query was asked. ./dev test "
                    "fetches it on Debian; brew install prometheus on a Mac";
  }
  LoadedExecutor loaded;
  metrics::Endpoint endpoint;
  endpoint.add("default", *loaded);
  const std::filesystem::path rules =
      std::filesystem::path(STREAMGATE_SOURCE_DIR) / "metrics/prometheus/streamgate.rules.yml";
  const PrometheusServer prometheus(program, {endpoint.port()}, rules);

  ASSERT_TRUE(after_some_scrape([&] {
    const auto up = prometheus.query("up == 1");
    return !up.empty();
  })) << "the executor is never scraped: "
      << prometheus.ask("/api/v1/targets").dump();
  // An increase shows only in a series that was there before.
  ASSERT_TRUE(after_some_scrape([&] {
    return !prometheus.query("count_over_time(streamgate_build_info[1m]) >= 2").empty();
  }));
  write_in_place(loaded.config_file(), loaded.config_text("max_flasks = 1\n"));
  EXPECT_THROW((void)(*loaded).reload(loaded.config_file()), policies::ConfigError);

  std::vector<Query> queries = documented_queries();
  for (const Query& query : dashboard_queries()) queries.push_back(query);
  const Rules shipped = shipped_rules();
  for (const std::string& recorded : shipped.recorded) queries.push_back({"recorded", recorded});
  for (const Query& query : queries) {
    if (may_have_nothing_to_say(query)) {
      static_cast<void>(prometheus.query(query.text));  // Throws where it cannot be answered.
      continue;
    }
    EXPECT_TRUE(after_some_scrape([&] { return !prometheus.query(query.text).empty(); }))
        << query.where << " returns nothing: " << query.text;
  }

  // All rules are evaluated, without an error, and the one whose condition is there has seen it.
  std::map<std::string, std::string> states;
  ASSERT_TRUE(after_some_scrape([&] {
    states.clear();
    const nlohmann::json rules_now = prometheus.ask("/api/v1/rules");
    for (const auto& group : rules_now.at("groups")) {
      for (const auto& rule : group.at("rules")) {
        if (rule.at("health") != "ok") return false;
        states[rule.at("name")] = rule.value("state", "recorded");
      }
    }
    return states.size() == shipped.recorded.size() + shipped.alerts.size() &&
           states["StreamgateReloadFailed"] != "inactive";  // Pending, for its first minute.
  })) << prometheus.ask("/api/v1/rules").dump(1);
  EXPECT_EQ(states["StreamgateLimitsOfAnotherBuild"], "inactive");
  EXPECT_EQ(states["StreamgateWorkersDying"], "inactive");

  // At rest, the numbers of the last scrape are the executor's.
  loaded.stop();
  drain_all(*loaded);
  const Snapshot last = (*loaded).snapshot();
  for (const auto& [outcome, word] :
       {std::pair{Outcome::kOk, "ok"}, std::pair{Outcome::kFailed, "failed"},
        std::pair{Outcome::kExpired, "expired"}}) {
    const std::string expected = std::to_string(count_of(last, outcome));
    EXPECT_NE(expected, "0");
    EXPECT_TRUE(after_some_scrape([&] {
      const auto found =
          prometheus.query("sum(streamgate_tasks_total{outcome=\"" + std::string(word) + "\"})");
      return found.size() == 1 && found[0].at("value").at(1) == expected;
    })) << word
        << " is not " << expected;
  }
}

}  // namespace
}  // namespace streamgate::testing
