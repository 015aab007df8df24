// SPDX-License-Identifier: Apache-2.0
//
// The status as JSON and as a page: that it says what the snapshot says and what the docs describe,
// who may ask for it, and that it survives what its texts may hold.
#include <streamgate/executor/executor.h>
#include <streamgate/metrics/endpoint.h>
#include <streamgate/metrics/internal/status_json.h>
#include <streamgate/metrics/status.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../support/http_get.h"
#include "example_snapshot.h"

namespace streamgate::metrics {
namespace {

using Json = nlohmann::json;
using MetricsConfig = policies::Config::Metrics;
using policies::ShowStatus;
using std::chrono::seconds;
using testing::Connection;
using testing::http_get;

constexpr executor::Clock::time_point kNow{seconds(5'000)};

executor::Snapshot full_snapshot() {
  executor::Snapshot snapshot = example_snapshot();
  snapshot.gates[0].decisions = {{.now = seconds(4'990),
                                  .from = 4,
                                  .to = 8,
                                  .reason = policies::LimitReason::kHelps,
                                  .gain = 0.25,
                                  .gain_low = 0.125,
                                  .gain_high = 0.5}};
  snapshot.gates[2].decisions = {{.now = seconds(4'995), .from = 2, .to = 1}};
  snapshot.limits.file = "limits.toml";
  snapshot.limits.differences = {"device M4 there, M1 here"};
  snapshot.overflow.policy = "cheapest";
  snapshot.overflow.quarantined[0] = {"aten::linear", 2, "SIGSEGV"};
  return snapshot;
}

Json status_of(const executor::Snapshot& snapshot, const std::string& name = "a") {
  internal::History history;
  history.add(kNow - seconds(2), {});
  history.add(kNow - seconds(1), snapshot);
  const Collector::Seen seen{name, example_provenance(), snapshot};
  return Json::parse(internal::status_json({{seen, history}}, kNow, {}));
}

/// "executors[].gates[].limit": every field, by its way from the top.
void collect_fields(const Json& json, const std::string& prefix, std::set<std::string>& fields) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      // One name stands for all causes and all reasons.
      const std::string name = prefix.ends_with(".exits")                ? "CAUSE"
                               : prefix.ends_with(".overflow.decisions") ? "REASON"
                                                                         : key;
      collect_fields(value, prefix.empty() ? name : prefix + "." + name, fields);
    }
  } else if (json.is_array() && !json.empty() && json[0].is_object()) {
    for (const Json& each : json) collect_fields(each, prefix + "[]", fields);
  } else if (!json.is_null()) {
    fields.insert(prefix);
  }
}

TEST(StatusJson, HasExactlyTheFieldsThatTheDocsDescribe) {
  std::set<std::string> fields;
  collect_fields(status_of(full_snapshot()), "", fields);
  std::ifstream docs(STREAMGATE_SOURCE_DIR "/docs/top.md");
  std::set<std::string> documented;
  for (std::string line; std::getline(docs, line);) {
    if (!line.starts_with("| `")) continue;
    // A row may be about several.
    for (std::size_t at = line.find('`'); at < line.find(" | "); at = line.find('`', at + 1)) {
      const std::size_t end = line.find('`', at + 1);
      const std::string name = line.substr(at + 1, end - at - 1);
      documented.insert(name == "version" || name == "time_s" ? name : "executors[]." + name);
      at = end;
    }
  }
  EXPECT_EQ(fields, documented);
}

TEST(StatusJson, SaysWhatTheSnapshotSays) {
  const Json status = status_of(full_snapshot()).at("executors").at(0);
  EXPECT_EQ(status.at("name"), "a");
  EXPECT_EQ(status.at("provenance").at("device"), "EPYC");
  EXPECT_EQ(status.at("queue").at("tasks"), 51);
  EXPECT_EQ(status.at("queue").at("max_bytes"), 54);
  const Json& gate = status.at("gates").at(2);
  EXPECT_EQ(gate.at("class"), "graph");
  EXPECT_EQ(gate.at("in_use"), 22);
  EXPECT_EQ(gate.at("limit"), 32);
  EXPECT_EQ(gate.at("ceiling"), 42);
  EXPECT_EQ(gate.at("enforced"), false);
  EXPECT_EQ(gate.at("wanted"), 44);
  EXPECT_EQ(gate.at("knee").at("limit"), 45);
  EXPECT_EQ(gate.at("knee").at("age_s"), 48.5);
  EXPECT_TRUE(status.at("gates").at(0).at("knee").is_null());
  const Json& raw = status.at("tasks").at(0);
  EXPECT_EQ(raw.at("class"), "raw");
  EXPECT_EQ(raw.at("ok"), 1000);
  EXPECT_EQ(raw.at("rejected"), 1001 + 1002 + 1003 + 1004 + 1005 + 1006);
  EXPECT_EQ(status.at("workers").at("busy"), 93);
  EXPECT_EQ(status.at("workers").at("exits").at("stopped"), 110);
  EXPECT_EQ(status.at("overflow").at("measured").at("gain"), 1.75);
  EXPECT_EQ(status.at("overflow").at("quarantined").at(0).at("evidence"), "SIGSEGV");
  EXPECT_EQ(status.at("history").at("ok_per_s").size(), 1U);
  EXPECT_EQ(status.at("history").at("age_s").at(0), 1);
  EXPECT_EQ(status.at("history").at("gates").at(1).at("in_use").at(0), 10.5);
}

TEST(StatusJson, DecisionsAreTheNewestFirstWithTheirAge) {
  const Json decisions = status_of(full_snapshot()).at("executors").at(0).at("decisions");
  ASSERT_EQ(decisions.size(), 2U);
  EXPECT_EQ(decisions[0].at("class"), "graph");
  EXPECT_EQ(decisions[0].at("age_s"), 5);
  EXPECT_EQ(decisions[1].at("class"), "raw");
  EXPECT_EQ(decisions[1].at("reason"), "helps");
  EXPECT_EQ(decisions[1].at("gain_high"), 0.5);
}

TEST(StatusJson, WarnsOfWhatAnOperatorShouldKnow) {
  const auto ids = [](const executor::Snapshot& snapshot) {
    std::vector<std::string> found;
    for (const auto& warning : internal::warnings_of(snapshot)) found.push_back(warning.id);
    return found;
  };
  EXPECT_EQ(ids({}), std::vector<std::string>{});
  executor::Snapshot snapshot;
  snapshot.limits.needed = true;
  EXPECT_EQ(ids(snapshot), std::vector<std::string>{"limits_missing"});
  EXPECT_EQ(ids(full_snapshot()),
            (std::vector<std::string>{"limits_mismatch", "reload_failed", "restart_needed",
                                      "workers_breaker_open", "calls_quarantined"}));
  snapshot = {};
  snapshot.queue = {.tasks = 5, .max_tasks = 5};
  EXPECT_EQ(ids(snapshot), std::vector<std::string>{"queue_full"});
}

TEST(StatusJson, TextThatIsNotUtf8IsStillJson) {
  executor::Snapshot snapshot = full_snapshot();
  snapshot.overflow.quarantined[0].evidence = "\xff\xfe\"\\</script>\n";
  const Json status = status_of(snapshot).at("executors").at(0);
  EXPECT_TRUE(status.at("overflow").at("quarantined").at(0).at("evidence").is_string());
}

TEST(Status, OfAnExecutorAtWorkHasItsHistory) {
  executor::ExecutorOptions options;
  options.config.executor.backend = "inline";
  options.config.executor.threads = 2;
  executor::Executor executor(std::move(options));
  Collector collector;
  collector.add("work", executor);
  const Status status(collector);
  std::jthread load([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) (void)executor.submit([] { return 1; }).get();
  });
  const auto guard = executor::Clock::now() + seconds(30);
  Json history;
  do {
    history = Json::parse(status.json()).at("executors").at(0).at("history");
  } while (history.at("ok_per_s").size() < 2 && executor::Clock::now() < guard);
  ASSERT_GE(history.at("ok_per_s").size(), 2U);
  EXPECT_GT(history.at("ok_per_s").back(), 0);
  EXPECT_EQ(history.at("age_s").size(), history.at("gates").at(0).at("limit").size());
}

TEST(Status, ReadsNoExecutorThatWasRemoved) {
  Collector collector;
  std::atomic<bool> removed{false};
  std::atomic<int> read_late{0};
  std::atomic<int> reads{0};
  collector.add("short", {}, [&] {
    if (removed) ++read_late;
    ++reads;
    reads.notify_all();
    return executor::Snapshot{};
  });
  const Status status(collector);
  for (int seen = 0; seen < 3; seen = reads) reads.wait(seen);
  collector.remove("short");
  removed = true;
  EXPECT_TRUE(Json::parse(status.json()).at("executors").empty());
  EXPECT_EQ(read_late, 0);
}

TEST(Status, EndsAtOnce) {
  Collector collector;
  auto status = std::make_unique<Status>(collector);
  (void)status->json();
  const auto start = executor::Clock::now();
  status.reset();
  EXPECT_LT(executor::Clock::now() - start, seconds(1));
}

TEST(StatusPage, NeedsNothingFromElsewhereAndMakesNoMarkup) {
  const std::string page(Status::page());
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  EXPECT_EQ(page.find("page.css */"), page.npos) << "the parts are in their places";
  EXPECT_EQ(page.find("page.js */"), page.npos);
  for (const char* outside : {"src=", "@import", "url(", "//cdn", "https://", "innerHTML",
                              "outerHTML", "insertAdjacentHTML", "document.write", "eval("}) {
    EXPECT_EQ(page.find(outside), page.npos) << outside;
  }
}

/// The status code of a request with this Host.
int code_for_host(const Endpoint& endpoint, const std::string& path, const std::string& host) {
  Connection connection(AF_INET, endpoint.port());
  connection.send("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n");
  return std::stoi(connection.receive_all().substr(9));
}

TEST(StatusOfEndpoint, IsServedBesideTheMetricsOnLoopback) {
  Endpoint endpoint;
  endpoint.add("default", example_provenance(), example_snapshot);
  EXPECT_EQ(endpoint.status_url(), "http://127.0.0.1:" + std::to_string(endpoint.port()) + "/");
  EXPECT_EQ(http_get(endpoint.status_url()).body, Status::page());
  const Json status = Json::parse(http_get(endpoint.status_url() + "status.json").body);
  EXPECT_EQ(status.at("executors").at(0).at("queue").at("tasks"), 51);
  Connection connection(AF_INET, endpoint.port());
  connection.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
  const std::string reply = connection.receive_all();
  EXPECT_NE(reply.find("Content-Security-Policy: default-src 'none'"), reply.npos);
  EXPECT_NE(reply.find("nosniff"), reply.npos);
}

TEST(StatusOfEndpoint, IsNotServedBeyondLoopbackUnlessAsked) {
  const auto code = [](const MetricsConfig& config) {
    const Endpoint endpoint(config);
    EXPECT_EQ(http_get(endpoint.url()).status, 200) << "the metrics are served all the same";
    const std::string root = "http://127.0.0.1:" + std::to_string(endpoint.port());
    const int page = http_get(root + "/").status;
    EXPECT_EQ(http_get(root + "/status.json").status, page);
    EXPECT_EQ(endpoint.status_url().empty(), page != 200);
    return page;
  };
  EXPECT_EQ(code({.address = "0.0.0.0"}), 404);
  EXPECT_EQ(code({.address = "0.0.0.0", .status = ShowStatus::kAlways}), 200);
  EXPECT_EQ(code({.status = ShowStatus::kNever}), 404);
  EXPECT_EQ(code({}), 200);
}

TEST(StatusOfEndpoint, AWebsiteWhoseNameLeadsHereCannotReadIt) {
  const Endpoint endpoint;
  const std::string port = std::to_string(endpoint.port());
  for (const std::string& host : {std::string("evil.example"), "evil.example:" + port,
                                  std::string(""), std::string("127.0.0.1.evil.example")}) {
    EXPECT_EQ(code_for_host(endpoint, "/status.json", host), 403) << host;
    EXPECT_EQ(code_for_host(endpoint, "/", host), 403) << host;
  }
  EXPECT_EQ(code_for_host(endpoint, "/metrics", "evil.example"), 200) << "as it always was";
  for (const std::string& host :
       {"localhost:" + port, std::string("localhost"), "127.0.0.1:" + port, "[::1]:" + port}) {
    EXPECT_EQ(code_for_host(endpoint, "/status.json", host), 200) << host;
  }
  const Endpoint open(MetricsConfig{.status = ShowStatus::kAlways});
  EXPECT_EQ(code_for_host(open, "/status.json", "gpu7.example"), 200);
}

}  // namespace
}  // namespace streamgate::metrics
