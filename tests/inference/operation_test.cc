// SPDX-License-Identifier: Apache-2.0
//
// What an operator sees of the server: overload, deadlines, reloads, drains and ports, with real
// signals and a real end.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "../support/scrape.h"
#include "server_process.h"

namespace streamgate::testing {
namespace {

double metric(const ServerProcess& server, const std::string& series) {
  return parse_scrape(http_get(server.metrics_url()).body).at(series);
}

/// A request that the server has taken, and that waits for the end of its body.
class TakenRequest {
 public:
  explicit TakenRequest(const ServerProcess& server) : connection_(AF_INET, server.port()) {
    connection_.send(request_.substr(0, request_.size() - 10));
    EXPECT_TRUE(eventually([&] { return metric(server, "inference_requests_in_flight") == 1; }));
  }
  [[nodiscard]] HttpReply finish() {
    connection_.send(request_.substr(request_.size() - 10));
    return ServerProcess::reply_of(connection_.receive_all());
  }

 private:
  const std::string request_ = ServerProcess::post_text(kInfer, digits_body(1));
  Connection connection_;
};

TEST(Operation, OneRequestMoreThanMayBeInFlightIsToldToComeBackUnlessItsPriorityIsHigh) {
  const ServerProcess server({.server = "max_in_flight = 1\n"});
  TakenRequest first(server);
  Connection second(AF_INET, server.port());
  second.send(ServerProcess::post_text(kInfer, digits_body(1)));
  const std::string reply = second.receive_all();
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 429")) << reply;
  EXPECT_NE(reply.find("Retry-After: 1\r\n"), std::string::npos) << reply;
  EXPECT_NE(reply.find("come back later"), std::string::npos) << reply;
  EXPECT_EQ(server.post(kInfer, digits_body(1), "Streamgate-Priority: high\r\n").status, 200);
  EXPECT_EQ(first.finish().status, 200);
  EXPECT_TRUE(eventually([&] { return server.post(kInfer, digits_body(1)).status == 200; }));
  EXPECT_GE(metric(server, R"(inference_requests_total{code="429",model="digits"})"), 1);
}

/// Requests of several clients at once, until each of these statuses was seen; whether it was.
template <std::size_t kStatuses>
bool seen_under_load(const ServerProcess& server, std::size_t digits, const std::string& headers,
                     const std::array<int, kStatuses>& wanted) {
  std::array<std::atomic<bool>, kStatuses> seen{};
  std::atomic<bool> stop{false};
  std::vector<std::jthread> clients;
  for (int i = 0; i < 6; ++i) {
    clients.emplace_back([&] {
      const std::string body = digits_body(digits);
      while (!stop) {
        const int status = server.post(kInfer, body, headers).status;
        bool expected = false;
        for (std::size_t s = 0; s < kStatuses; ++s) {
          if (wanted[s] != status) continue;
          seen[s] = expected = true;
        }
        EXPECT_TRUE(expected) << status;
      }
    });
  }
  const bool all = eventually([&] {
    for (const auto& each : seen) {
      if (!each) return false;
    }
    return true;
  });
  stop = true;
  return all;
}

TEST(Operation, WhoseTurnDoesNotComeInTimeIsTold) {
  const ServerProcess server({.executor = "[gate.raw]\nlimit = 1\n"});
  EXPECT_TRUE(seen_under_load<2>(server, 60, "Streamgate-Timeout-Ms: 15\r\n", {200, 504}));
}

TEST(Operation, AFullQueueIsTold) {
  const ServerProcess server({.executor = "[gate.raw]\nlimit = 1\n[queue]\nmax_tasks = 1\n"});
  EXPECT_TRUE(seen_under_load<2>(server, 60, "", {200, 429}));
}

TEST(Operation, SigtermAnswersWhatWasTakenAndTellsTheOthers) {
  ServerProcess server;
  TakenRequest taken(server);
  server.signal(SIGTERM);
  (void)server.read_until("draining");
  ASSERT_TRUE(eventually([&] { return server.get("/v2/health/ready").status == 503; }));
  EXPECT_EQ(server.get("/v2/health/live").status, 200);
  const HttpReply refused = server.post(kInfer, digits_body(1));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(error_of(refused), "the server is draining");
  // A scrape in the middle of the drain.
  EXPECT_GE(metric(server, R"(inference_requests_total{code="503",model="digits"})"), 1);
  EXPECT_EQ(taken.finish().status, 200);
  EXPECT_EQ(server.wait_for_exit(), 0);
  (void)server.read_until("drained");
}

TEST(Operation, ADrainHasADeadline) {
  ServerProcess server({.server = "drain_timeout_ms = 200\nrequest_timeout_ms = 60000\n"});
  const TakenRequest taken(server);
  server.signal(SIGTERM);
  (void)server.read_until("not drained in time");
  EXPECT_EQ(server.wait_for_exit(), 1);
}

TEST(Operation, AnIdleServerEndsAtOnceAndCleanly) {
  ServerProcess server;
  server.signal(SIGINT);
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(Operation, AChangedExecutorConfigTakesEffectAndABrokenOneShows) {
  const ServerProcess server({.executor = "[queue]\nmax_tasks = 70\n"});
  const std::string max_tasks = R"(streamgate_queue_max_tasks{executor="inference"})";
  const std::string good = R"(streamgate_config_last_reload_successful{executor="inference"})";
  EXPECT_EQ(metric(server, max_tasks), 70);
  write_by_rename(server.executor_config(), "[queue]\nmax_tasks = 71\n");
  EXPECT_TRUE(eventually([&] { return metric(server, max_tasks) == 71; }));
  write_by_rename(server.executor_config(), "[queue]\nmax_tasks = 0\n");
  EXPECT_TRUE(eventually([&] { return metric(server, good) == 0; }));
  EXPECT_EQ(metric(server, max_tasks), 71);
  EXPECT_TRUE(eventually([&] {
    return server.log().find("streamgate.toml:2: queue.max_tasks") != std::string::npos &&
           server.log().find("event=reload_failed") != std::string::npos;
  }));
  const std::string failed =
      R"(streamgate_config_reloads_total{executor="inference",result="failed"})";
  const double before = metric(server, failed);
  server.signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return metric(server, failed) > before; })) << "SIGHUP reloads";
  EXPECT_EQ(server.post(kInfer, digits_body(1)).status, 200);
}

TEST(Operation, ARequestThatItsCallerTracesIsLoggedWithItsStages) {
  const ServerProcess server;
  const std::string ids = "-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-";
  const auto infer = [&](const std::string& traceparent) {
    EXPECT_EQ(server.post(kInfer, digits_body(1), "traceparent: " + traceparent + "\r\n").status,
              200)
        << traceparent;
  };
  infer("00" + ids + "00");  // Not sampled.
  infer("ff" + ids + "01");  // Not valid: as if there were none.
  infer("nonsense\tevent=x");
  EXPECT_EQ(server.post(kInfer, digits_body(1)).status, 200);
  infer("00" + ids + "01");
  ASSERT_TRUE(eventually([&] { return server.log().find("event=request") != std::string::npos; }));
  const std::string log = server.log();
  EXPECT_NE(log.find("traceparent=00" + ids + "01 outcome=ok wait_ms="), std::string::npos) << log;
  EXPECT_EQ(log.find("event=request"), log.rfind("event=request")) << "the sampled one only";
}

TEST(Operation, ItsStatusPageIsBesideItsMetrics) {
  const ServerProcess server;
  EXPECT_EQ(server.post(kInfer, digits_body(1)).status, 200);
  const std::string base = server.metrics_url().substr(0, server.metrics_url().rfind('/') + 1);
  EXPECT_TRUE(http_get(base).body.starts_with("<!doctype html>"));
  const auto status = nlohmann::json::parse(http_get(base + "status.json").body);
  const auto& executor = status.at("executors").at(0);
  EXPECT_EQ(executor.at("name"), "inference");
  EXPECT_GE(executor.at("tasks").at(0).at("ok"), 1);
}

TEST(Operation, ASecondServerOnThePortIsRefusedAndTheFirstGoesOn) {
  const ServerProcess server;
  const ChildResult second =
      run_child({STREAMGATE_INFERENCE_SERVER, "--config", server.config().string(), "--port",
                 std::to_string(server.port())},
                std::chrono::seconds(60));
  EXPECT_EQ(second.exit_code, 2);
  EXPECT_NE(second.err.find("cannot listen on 127.0.0.1 port " + std::to_string(server.port()) +
                            ": Address already in use"),
            std::string::npos)
      << second.err;
  EXPECT_EQ(server.post(kInfer, digits_body(1)).status, 200);
}

TEST(Operation, WhatCannotBeServedIsNamed) {
  const TemporaryFolder folder;
  write_in_place(folder / "m.pt", "no model");
  write_in_place(folder / "server.toml",
                 "[server]\nport = 0\n[[model]]\nname = 'm'\nfile = 'm.pt'\n"
                 "inputs = [{name='x', datatype='FP32', shape=[1]}]\n"
                 "outputs = [{name='y', datatype='FP32', shape=[1]}]\n");
  const ChildResult result =
      run_child({STREAMGATE_INFERENCE_SERVER, "--config", (folder / "server.toml").string()},
                std::chrono::seconds(60));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("model m ("), std::string::npos) << result.err;
}

}  // namespace
}  // namespace streamgate::testing
