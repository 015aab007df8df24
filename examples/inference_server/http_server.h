// SPDX-License-Identifier: Apache-2.0
//
// HTTP for the service: connections, requests and replies, each of them bounded in number, size and
// time whatever a client does. What is asked and answered is service.h's business; cpp-httplib is
// seen by http_server.cc alone.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace inference_server {

struct HttpOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8000;             ///< 0: any free one.
  std::size_t max_connections = 128;     ///< A thread each; one more is answered 503 and closed.
  std::size_t max_body_bytes = 1 << 20;  ///< Unpacked, where a client sends it packed.
  /// For a client to send one request, from its first byte to its last, and to take the reply.
  std::chrono::milliseconds request_timeout{10'000};
  std::chrono::milliseconds idle_timeout{5'000};  ///< Between two requests of a connection.
};

/// A request. Lives as long as its handler runs.
class HttpRequest {
 public:
  virtual ~HttpRequest() = default;
  [[nodiscard]] virtual std::string_view method() const = 0;  ///< "GET" or "POST".
  [[nodiscard]] virtual std::string_view path() const = 0;    ///< Decoded; at most 1024 bytes.
  [[nodiscard]] virtual std::optional<std::string> header(const std::string& name) const = 0;
  /// Whether the client has closed its end. Never blocks.
  [[nodiscard]] virtual bool client_gone() const = 0;
};

struct HttpReply {
  int status = 200;
  std::string body{};
  std::vector<std::pair<std::string, std::string>> headers{};
};

/// What the server calls, on the connections' threads, concurrently. Neither may throw.
struct HttpHandlers {
  std::function<HttpReply(const HttpRequest&)> get;
  /// Before the body of a POST is read: a reply is the refusal of it.
  std::function<std::optional<HttpReply>(const HttpRequest&)> admit;
  /// A POST that was admitted; the body is null if it could not be read, for what was taken at
  /// admission to be given back; the reply is then the server's own.
  std::function<HttpReply(const HttpRequest&, const std::string* body)> post;
};

/// A server that listens until it is told to stop. All replies are JSON.
///
/// Thread-safety: stop is thread-safe. Ownership: owns its threads; the handlers must live as long.
/// Blocking: the constructor binds the port; stop waits for the requests that are being answered.
/// Failure: the constructor throws std::runtime_error that names address, port and reason.
///
///     HttpServer server({.port = 0}, {.get = ..., .admit = ..., .post = ...});
///     std::cout << server.url() << '\n';
///     wait_for_a_signal();
///     server.stop();
class HttpServer {
 public:
  HttpServer(const HttpOptions& options, HttpHandlers handlers);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] std::string url() const;  ///< "http://127.0.0.1:8000".
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inference_server
