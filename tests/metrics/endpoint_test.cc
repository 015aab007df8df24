// SPDX-License-Identifier: Apache-2.0
//
// The promises of the endpoint, over HTTP: what promtool accepts, ports and addresses that cannot
// be had, the service's own metrics beside ours, clients that stall, and executors that end.
#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <streamgate/metrics.h>
#include <streamgate/metrics/collector.h>
#include <streamgate/metrics/metric_table.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../support/http_get.h"
#include "../support/scrape.h"
#include "example_snapshot.h"

namespace streamgate::metrics {
namespace {

using testing::Connection;
using testing::http_get;
using testing::HttpReply;
using testing::parse_scrape;
using testing::Scrape;
using MetricsConfig = policies::Config::Metrics;

Scrape scrape(const Endpoint& endpoint) {
  const HttpReply reply = http_get(endpoint.url());
  EXPECT_EQ(reply.status, 200) << reply.body;
  return parse_scrape(reply.body);
}

void add_example(Endpoint& endpoint, std::string name = "default") {
  endpoint.add(std::move(name), example_provenance(), example_snapshot);
}

/// What the constructor says about a config that it refuses; empty if it takes it.
std::string refusal(const MetricsConfig& config) {
  try {
    const Endpoint endpoint(config);
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), text.npos) << '"' << part << "\" is not in: " << text;
}

struct Lint {
  int exit_status;
  std::string output;
};

Lint promtool_check_metrics(const std::string& text) {
  std::string file = ::testing::TempDir() + "streamgate_scrape_XXXXXX";
  const int descriptor = mkstemp(file.data());
  if (descriptor < 0) throw std::runtime_error("mkstemp: " + file);
  close(descriptor);
  std::ofstream(file, std::ios::binary) << text;
  FILE* pipe = popen(("promtool check metrics < '" + file + "' 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen");
  Lint lint{};
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof(buffer), pipe)) {
    lint.output.append(buffer, got);
  }
  const int status = pclose(pipe);
  lint.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  std::remove(file.c_str());
  return lint;
}

TEST(Endpoint, PromtoolFindsNothingWrongWithAScrape) {
  Endpoint endpoint;
  add_example(endpoint, "a");
  add_example(endpoint, "b");
  endpoint.add("idle", {}, [] { return executor::Snapshot{}; });
  const Lint lint = promtool_check_metrics(http_get(endpoint.url()).body);
  ASSERT_NE(lint.exit_status, 127)
      << "promtool is missing: ./dev test fetches it; else apt-get install promtool (Debian 12: "
         "prometheus; brew: prometheus)";
  EXPECT_EQ(lint.exit_status, 0) << lint.output;
  EXPECT_EQ(lint.output, "");
}

TEST(Endpoint, FamiliesOfAScrapeAreThoseOfTheTable) {
  Endpoint endpoint;
  add_example(endpoint);
  std::multiset<std::string> found;
  for (const std::string& family : scrape(endpoint).families) found.insert(family);
  std::multiset<std::string> expected;
  for (const Metric& metric : metric_table()) expected.emplace(metric.name);
  EXPECT_EQ(found, expected);
}

TEST(Endpoint, ServesTheSnapshotsNumbers) {
  Endpoint endpoint;
  add_example(endpoint, "a");
  const Scrape found = scrape(endpoint);
  EXPECT_EQ(found.at(R"(streamgate_queue_tasks{executor="a"})"), 51);
  EXPECT_EQ(found.at(R"(streamgate_tasks_total{executor="a",class="raw",outcome="ok",reason=""})"),
            1000);
}

TEST(Endpoint, DefaultIsAFreePortOfThisMachineOnlyAndReported) {
  const Endpoint endpoint;
  EXPECT_NE(endpoint.port(), 0);
  EXPECT_EQ(endpoint.url(), "http://127.0.0.1:" + std::to_string(endpoint.port()) + "/metrics");
  EXPECT_EQ(http_get(endpoint.url()).status, 200);
  // The same port of another loopback address is free, unless all addresses were taken.
  const std::string said = refusal({.address = "127.0.0.2", .port = endpoint.port()});
  EXPECT_EQ(said.find("in use"), said.npos) << said;
}

TEST(Endpoint, TwoEndpointsOnPortZeroHavePortsOfTheirOwn) {
  const Endpoint one;
  const Endpoint other;
  EXPECT_NE(one.port(), other.port());
}

TEST(Endpoint, AGivenPortIsServed) {
  std::uint16_t port = 0;
  {
    const Endpoint finder;
    port = finder.port();
  }
  const Endpoint endpoint(MetricsConfig{.port = port});
  EXPECT_EQ(endpoint.port(), port);
  EXPECT_EQ(http_get(endpoint.url()).status, 200);
}

TEST(Endpoint, APortInUseIsRefusedWithAddressPortAndRemedy) {
  const Endpoint holder;
  const std::string said = refusal({.port = holder.port()});
  expect_has(said, "127.0.0.1 port " + std::to_string(holder.port()));
  expect_has(said, "Address already in use");
  expect_has(said, "choose another metrics.port, or 0 for any free one");
  EXPECT_EQ(http_get(holder.url()).status, 200) << "the holder is not disturbed";
}

TEST(Endpoint, AnAddressThatIsNoneIsRefusedWithARemedy) {
  for (const std::string& address :
       {std::string(""), std::string("example.com"), std::string("127.0.0.1:80"),
        std::string("127.0.0.1,0.0.0.0"), std::string("256.0.0.1"), std::string("[::1]")}) {
    const std::string said = refusal({.address = address, .port = 9'464});
    expect_has(said, "\"" + address + "\" port 9464: not an address");
    expect_has(said, "IPv4 or IPv6 literal");
  }
  expect_has(refusal({.address = std::string("127.0.0.1\0x", 11)}), "\"127.0.0.1?x\" port 0");
}

TEST(Endpoint, AnAddressOfAnotherMachineIsRefusedWithARemedy) {
  // 192.0.2.0/24 is for documentation and is nobody's.
  const std::string said = refusal({.address = "192.0.2.1"});
  expect_has(said, "192.0.2.1 port 0: Cannot assign requested address");
  expect_has(said, "choose a metrics.address that this machine has");
}

TEST(Endpoint, LocalhostIsTheLoopbackAddress) {
  const Endpoint endpoint(MetricsConfig{.address = "localhost"});
  EXPECT_EQ(endpoint.url(), "http://127.0.0.1:" + std::to_string(endpoint.port()) + "/metrics");
}

TEST(Endpoint, AllAddressesAreReportedAsOneThatCanBeScraped) {
  const Endpoint endpoint(MetricsConfig{.address = "0.0.0.0"});
  EXPECT_EQ(http_get(endpoint.url()).status, 200);
}

TEST(Endpoint, AnIPv6AddressIsServedOrRefusedWithARemedy) {
  std::optional<Endpoint> endpoint;
  try {
    endpoint.emplace(MetricsConfig{.address = "::1"});
  } catch (const std::runtime_error& error) {
    expect_has(error.what(), "[::1] port 0");
    expect_has(error.what(), "127.0.0.1");
    return;
  }
  EXPECT_EQ(endpoint->url(), "http://[::1]:" + std::to_string(endpoint->port()) + "/metrics");
  EXPECT_EQ(http_get(endpoint->url()).status, 200);
}

TEST(Endpoint, DisabledMetricsAreNotServedAndCostNoCase) {
  Endpoint endpoint(MetricsConfig{.enabled = false, .address = "192.0.2.1"});
  add_example(endpoint);
  endpoint.add(std::make_shared<prometheus::Registry>());
  endpoint.remove("default");
  EXPECT_EQ(endpoint.port(), 0);
  EXPECT_EQ(endpoint.url(), "");
}

TEST(Endpoint, NothingButMetricsAndTheStatusIsServed) {
  const Endpoint endpoint;
  const std::string root = "http://127.0.0.1:" + std::to_string(endpoint.port());
  for (const char* path :
       {"/index.html", "/status", "/metric", "/../../etc/passwd", "/etc/passwd"}) {
    EXPECT_GE(http_get(root + path).status, 400) << path;
  }
}

TEST(Endpoint, TheServicesOwnMetricsAreServedBesideOurs) {
  Endpoint endpoint;
  add_example(endpoint);
  auto registry = std::make_shared<prometheus::Registry>();
  prometheus::BuildCounter().Name("digits_total").Register(*registry).Add({}).Increment(3);
  endpoint.add(registry);
  EXPECT_EQ(scrape(endpoint).at("digits_total"), 3);
  EXPECT_TRUE(scrape(endpoint).has(R"(streamgate_queue_tasks{executor="default"})"));
  registry.reset();
  EXPECT_FALSE(scrape(endpoint).has("digits_total")) << "the endpoint does not keep it alive";
}

TEST(Endpoint, ACollectableThatThrowsIsLeftOut) {
  struct Bad : prometheus::Collectable {
    std::vector<prometheus::MetricFamily> Collect() const override { throw 42; }
  };
  Endpoint endpoint;
  add_example(endpoint);
  const auto bad = std::make_shared<Bad>();
  endpoint.add(bad);
  EXPECT_TRUE(scrape(endpoint).has(R"(streamgate_queue_tasks{executor="default"})"));
}

TEST(Endpoint, AnExecutorMayEndBeforeTheEndpointOnceItIsRemoved) {
  Endpoint endpoint;
  auto alive = std::make_unique<std::atomic<int>>(1);
  endpoint.add("short", {}, [&alive] {
    executor::Snapshot snapshot;
    snapshot.queue.tasks = static_cast<std::size_t>(alive->load());
    return snapshot;
  });
  EXPECT_EQ(scrape(endpoint).at(R"(streamgate_queue_tasks{executor="short"})"), 1);
  endpoint.remove("short");
  alive.reset();
  EXPECT_EQ(scrape(endpoint).count("streamgate_"), 0U);
}

TEST(Endpoint, ClientsThatStallDoNotKeepPrometheusOut) {
  Endpoint endpoint;
  add_example(endpoint);
  std::vector<std::unique_ptr<Connection>> stalled;
  for (int i = 0; i < 4; ++i) {
    stalled.push_back(std::make_unique<Connection>(AF_INET, endpoint.port()));
    stalled.back()->send("GET /met");
  }
  // Prometheus gives a scrape ten seconds.
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(http_get(endpoint.url()).status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(Endpoint, EndsAtOnceWhenIdle) {
  auto endpoint = std::make_unique<Endpoint>();
  (void)http_get(endpoint->url());
  const auto start = std::chrono::steady_clock::now();
  endpoint.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST(Endpoint, EndsThoughAClientIsStalled) {
  auto endpoint = std::make_unique<Endpoint>();
  Connection stalled(AF_INET, endpoint->port());
  stalled.send("GET /met");
  (void)http_get(endpoint->url());  // Connections are taken in turn, so the other has a thread now.
  const auto start = std::chrono::steady_clock::now();
  endpoint.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(Endpoint, EndsUnderScrapesAndNoneReadsAnExecutorThereafter) {
  for (int round = 0; round < 5; ++round) {
    std::atomic<bool> ended = false;
    std::atomic<int> read_late = 0;
    std::atomic<int> scraped = 0;
    std::atomic<bool> stop = false;
    auto endpoint = std::make_unique<Endpoint>();
    endpoint->add("default", {}, [&] {
      if (ended) ++read_late;
      ++scraped;
      scraped.notify_all();
      return example_snapshot();
    });
    std::vector<std::jthread> scrapers;
    for (int i = 0; i < 3; ++i) {
      scrapers.emplace_back([&, url = endpoint->url()] {
        while (!stop) {
          try {
            (void)http_get(url, std::chrono::seconds(1));
          } catch (const std::exception&) {
            // Refused or cut off, as it should be when the endpoint ends.
          }
        }
      });
    }
    for (int seen = 0; seen < 10; seen = scraped) scraped.wait(seen);
    endpoint.reset();
    ended = true;
    stop = true;
    scrapers.clear();
    EXPECT_EQ(read_late, 0);
  }
}

TEST(Endpoint, ScrapesAreRightWhileTheNumbersMove) {
  std::atomic<std::uint64_t> done = 1;  // A histogram of nothing has no series.
  Endpoint endpoint;
  endpoint.add("default", {}, [&] {
    executor::Snapshot snapshot;
    snapshot.lanes[0].outcomes[0] = done;
    snapshot.lanes[0].run.counts[3] = done;
    return snapshot;
  });
  std::jthread worker([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) ++done;
  });
  std::vector<std::jthread> scrapers;
  for (int i = 0; i < 3; ++i) {
    scrapers.emplace_back([&] {
      double last = 0;
      for (int round = 0; round < 10; ++round) {
        const Scrape found = scrape(endpoint);
        const double now = found.at(
            R"(streamgate_tasks_total{executor="default",class="raw",outcome="ok",reason=""})");
        EXPECT_GE(now, last) << "a counter went back";
        last = now;
        const std::string name = "streamgate_task_run_seconds";
        EXPECT_EQ(found.at(name + R"(_count{executor="default",class="raw"})"),
                  found.at(name + R"(_bucket{executor="default",class="raw",le="+Inf"})"));
      }
    });
  }
}

}  // namespace
}  // namespace streamgate::metrics
