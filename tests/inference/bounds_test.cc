// SPDX-License-Identifier: Apache-2.0
//
// The server's bounds against clients that are too large, too slow or too many; it must go on
// serving the others.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "server_process.h"

namespace streamgate::testing {
namespace {

std::string chunked(const std::string& body, std::size_t size) {
  std::ostringstream text;
  for (std::size_t at = 0; at < body.size(); at += size) {
    const std::string part = body.substr(at, size);
    text << std::hex << part.size() << "\r\n" << part << "\r\n";
  }
  return text.str() + "0\r\n\r\n";
}

const std::string kChunkedHead = std::string("POST ") + kInfer +
                                 " HTTP/1.1\r\nConnection: close\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n";

/// What comes back to a request whose sending may be cut short.
HttpReply reply_though_cut(std::uint16_t port, const std::string& text) {
  Connection connection(AF_INET, port);
  try {
    connection.send(text);
  } catch (const std::exception&) {
    // The server has answered and closed; its reply is there.
  }
  return ServerProcess::reply_of(connection.receive_all());
}

/// One server for those that do not take it up whole.
class Bounds : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<ServerProcess>(
        ServerOptions{.server = "max_body_bytes = 65536\nrequest_timeout_ms = 2000\n"});
  }
  static void TearDownTestSuite() { server_.reset(); }
  /// After whatever was sent, it must still serve.
  void TearDown() override { EXPECT_EQ(server_->post(kInfer, digits_body(1)).status, 200); }
  inline static std::unique_ptr<ServerProcess> server_;
};

TEST_F(Bounds, ChunkedBodiesAreReadAndNoBodyIsReadPastTheLimit) {
  const ServerProcess& server = *server_;
  EXPECT_EQ(server.send(kChunkedHead + chunked(digits_body(2), 1'000)).status, 200);
  const std::string large = digits_body(50);
  ASSERT_GT(large.size(), 65'536U);
  for (const std::string& text :
       {kChunkedHead + chunked(large, 8'000), ServerProcess::post_text(kInfer, large)}) {
    const HttpReply reply = reply_though_cut(server.port(), text);
    EXPECT_EQ(reply.status, 413);
    EXPECT_NE(error_of(reply).find("larger than 65536 bytes"), std::string::npos);
  }
  // Announced only: nobody waits for it.
  const HttpReply announced = server.send(std::string("POST ") + kInfer +
                                          " HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n");
  EXPECT_EQ(announced.status, 413);
}

TEST_F(Bounds, AHeaderWithoutAnEndIsCutOff) {
  const ServerProcess& server = *server_;
  for (const std::string& text : {std::string("GET /") + std::string(1 << 20, 'a'),
                                  "GET /v2 HTTP/1.1\r\nA: " + std::string(1 << 20, 'a'), [] {
                                    std::string many = "GET /v2 HTTP/1.1\r\n";
                                    for (int i = 0; i < 100'000; ++i) many += "A: b\r\n";
                                    return many;
                                  }()}) {
    Connection connection(AF_INET, server.port());
    try {
      connection.send(text);
      (void)connection.receive_all();
    } catch (const std::exception&) {
      // Cut off while it still sent.
    }
  }
}

TEST_F(Bounds, AClientThatSendsByteByByteHasOneDeadlineForAllOfThem) {
  const ServerProcess& server = *server_;
  Connection drips(AF_INET, server.port());
  const auto begin = std::chrono::steady_clock::now();
  // So long that no machine carries it byte by byte within the time that it has.
  const std::string request = ServerProcess::post_text(kInfer, digits_body(10));
  std::size_t sent = 0;
  try {
    // A byte with each of the others' requests, so that no wait for one byte is long.
    for (; sent < request.size(); ++sent) {
      drips.send(request.substr(sent, 1));
      EXPECT_EQ(server.get("/v2/health/live").status, 200);
    }
  } catch (const std::exception&) {
    // Closed on us, as it should be.
  }
  EXPECT_LT(sent, request.size()) << "it was waited for to the end";
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kGuard);
}

TEST_F(Bounds, ABodyThatStopsIsToldThatItsTimeIsOver) {
  const ServerProcess& server = *server_;
  const std::string request = ServerProcess::post_text(kInfer, digits_body(1));
  const HttpReply reply = server.send(request.substr(0, request.size() / 2));
  EXPECT_EQ(reply.status, 408) << reply.body;
  EXPECT_NE(error_of(reply).find("did not come in time"), std::string::npos);
}

TEST(FewConnections, OneConnectionMoreThanThereAreIsToldAndTheyGoOn) {
  const ServerProcess server({.server = "max_connections = 4\n"});
  const std::string request = ServerProcess::post_text(kInfer, digits_body(1));
  std::vector<std::unique_ptr<Connection>> taken;
  for (int i = 0; i < 4; ++i) {
    taken.push_back(std::make_unique<Connection>(AF_INET, server.port()));
    taken.back()->send(request.substr(0, 200));
  }
  const HttpReply refused = server.send("");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(error_of(refused), "all connections are taken");
  for (auto& connection : taken) {
    connection->send(request.substr(200));
    EXPECT_EQ(ServerProcess::reply_of(connection->receive_all()).status, 200);
  }
  EXPECT_TRUE(eventually([&] { return server.get("/v2/health/live").status == 200; }));
}

TEST(FewConnections, ClientsThatLeaveInTheMiddleLeaveNothingBehind) {
  const ServerProcess server({.server = "max_connections = 8\nmax_in_flight = 8\n"});
  const std::string request = ServerProcess::post_text(kInfer, digits_body(4));
  for (int i = 0; i < 50; ++i) {
    Connection connection(AF_INET, server.port());
    connection.send(request.substr(0, request.size() - (i % 2 == 0 ? 0 : 10)));
  }
  EXPECT_TRUE(eventually([&] { return server.post(kInfer, digits_body(1)).status == 200; }));
}

void connect_in_turn(const ServerProcess& server, int connections) {
  for (int i = 0; i < connections; ++i) {
    ASSERT_EQ(server.get("/v2/health/live").status, 200) << i;
  }
}

TEST_F(Bounds, AThousandConnectionsInTurnAreServed) { connect_in_turn(*server_, 1'000); }
TEST_F(Bounds, LongTenThousandConnectionsInTurnAreServed) { connect_in_turn(*server_, 10'000); }

}  // namespace
}  // namespace streamgate::testing
