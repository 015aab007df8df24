// SPDX-License-Identifier: Apache-2.0
//
// A real executor, scraped over HTTP: what it did is what is served.
#include <streamgate/executor.h>
#include <streamgate/metrics.h>

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "../support/http_get.h"
#include "../support/scrape.h"

namespace streamgate::metrics {
namespace {

using testing::http_get;
using testing::parse_scrape;

Config inline_config() {
  Config config;
  config.executor.backend = "inline";
  config.executor.threads = 2;
  return config;
}

TEST(ExecutorMetrics, AScrapeTellsWhatTheExecutorDid) {
  Executor executor(ExecutorOptions{.config = inline_config()});
  Endpoint endpoint;
  endpoint.add("default", executor);

  std::vector<Future<int>> futures;
  for (int i = 0; i < 20; ++i) {
    futures.push_back(executor.submit({.op_class = OpClass::kRaw}, [i] { return i; }));
  }
  for (auto& future : futures) EXPECT_TRUE(future.get());
  auto failed = executor.submit({.op_class = OpClass::kGraph}, [] { throw std::logic_error("x"); });
  EXPECT_THROW((void)failed.get(), std::logic_error);
  (void)executor.drain(Drain::kFinish, std::chrono::seconds(20));
  EXPECT_EQ(executor.submit({.op_class = OpClass::kRaw}, [] {}).get().outcome(),
            Outcome::kShutdown);

  const auto scrape = parse_scrape(http_get(endpoint.url()).body);
  const std::string tasks = R"(streamgate_tasks_total{executor="default",class=)";
  EXPECT_EQ(scrape.at(tasks + R"("raw",outcome="ok",reason=""})"), 20);
  EXPECT_EQ(scrape.at(tasks + R"("graph",outcome="failed",reason=""})"), 1);
  EXPECT_EQ(scrape.at(tasks + R"("raw",outcome="rejected",reason="shutdown"})"), 1);
  EXPECT_EQ(scrape.at(R"(streamgate_task_run_seconds_count{executor="default",class="raw"})"), 20);
  EXPECT_EQ(scrape.at(R"(streamgate_task_wait_seconds_count{executor="default",class="graph"})"),
            1);
  EXPECT_EQ(scrape.at(R"(streamgate_arena_threads{executor="default"})"), 2);
  EXPECT_EQ(scrape.at(R"(streamgate_gate_in_use{executor="default",class="raw"})"), 0);
}

TEST(ExecutorMetrics, TwoExecutorsAreToldApart) {
  Executor one(ExecutorOptions{.config = inline_config()});
  Executor two(ExecutorOptions{.config = inline_config()});
  Endpoint endpoint;
  endpoint.add("one", one);
  endpoint.add("two", two);
  (void)two.run({.op_class = OpClass::kRaw}, [] { return 1; });
  const auto scrape = parse_scrape(http_get(endpoint.url()).body);
  const std::string ok = R"(",class="raw",outcome="ok",reason=""})";
  EXPECT_EQ(scrape.at(R"(streamgate_tasks_total{executor="one)" + ok), 0);
  EXPECT_EQ(scrape.at(R"(streamgate_tasks_total{executor="two)" + ok), 1);
}

}  // namespace
}  // namespace streamgate::metrics
