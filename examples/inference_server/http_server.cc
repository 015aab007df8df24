// SPDX-License-Identifier: Apache-2.0
//
// What of cpp-httplib (0.11 in Debian 12, 0.18 in Debian 13) is used: the reading of requests and
// the writing of replies. Connections and the bounds on them are ours. cpp-httplib's routes are
// regular expressions, which recurse on a path's length; here is one, behind a check of that
// length.
#include "http_server.h"

#include "connection.h"
#include "connection_threads.h"

#include <httplib.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace inference_server {
namespace {

constexpr const char* kJson = "application/json";
constexpr std::size_t kLongestPath = 1024;
/// Of one request, for its headers and for what chunks add to a body.
constexpr std::size_t kHeaderBytes = 64 << 10;
/// A body that nobody wants is read to its end if it is no longer, to keep the connection.
constexpr std::size_t kDiscarded = 64 << 10;
constexpr int kBacklog = 512;

/// The connection that this thread serves.
thread_local Connection* current = nullptr;

std::string error_body(std::string_view text) {
  return R"({"error":")" + std::string(text) + "\"}";
}

void set_reply(httplib::Response& response, HttpReply reply) {
  response.status = reply.status;
  for (auto& [name, value] : reply.headers) response.set_header(name, value);
  response.set_content(std::move(reply.body), kJson);
  if (current->closes()) response.set_header("Connection", "close");
}

/// A reply after which nothing of the connection can be trusted to be the next request.
void refuse(httplib::Response& response, int status, std::string_view text) {
  current->close_after_reply();
  set_reply(response, {.status = status, .body = error_body(text)});
}

class Request final : public HttpRequest {
 public:
  explicit Request(const httplib::Request& request) : request_(request) {}
  std::string_view method() const override {
    return request_.method == "HEAD" ? std::string_view("GET") : request_.method;
  }
  std::string_view path() const override { return request_.path; }
  std::optional<std::string> header(const std::string& name) const override {
    if (!request_.has_header(name.c_str())) return std::nullopt;
    return request_.get_header_value(name.c_str());
  }
  bool client_gone() const override { return current->client_gone(); }

 private:
  const httplib::Request& request_;
};

/// The length of the body that the headers announce; nothing when they contradict themselves.
struct BodyLength {
  bool chunked = false;
  std::size_t bytes = 0;
};
std::optional<BodyLength> body_length(const httplib::Request& request) {
  const std::size_t lengths = request.get_header_value_count("Content-Length");
  const std::size_t encodings = request.get_header_value_count("Transfer-Encoding");
  // More than one of them is how a request is smuggled past a proxy that reads another.
  if (lengths + encodings > 1) return std::nullopt;
  if (encodings == 1) {
    if (request.get_header_value("Transfer-Encoding") != "chunked") return std::nullopt;
    return BodyLength{.chunked = true};
  }
  if (lengths == 0) return BodyLength{};
  const std::string text = request.get_header_value("Content-Length");
  const bool digits =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (text.empty() || text.size() > 18 || !digits) return std::nullopt;
  return BodyLength{.bytes = std::stoull(text)};
}

/// As cpp-httplib does by default, but for SO_REUSEPORT: a second server on the port must be
/// refused.
void set_listener_options(socket_t listener) {
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

/// Why the system does not let us listen there; cpp-httplib does not tell.
std::string listen_failure(const std::string& address, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  if (const int code = ::getaddrinfo(address.c_str(), service.c_str(), &hints, &found); code != 0) {
    return ::gai_strerror(code);
  }
  const int listener = ::socket(found->ai_family, found->ai_socktype, found->ai_protocol);
  set_listener_options(listener);
  const bool bound = listener >= 0 && ::bind(listener, found->ai_addr, found->ai_addrlen) == 0 &&
                     ::listen(listener, 1) == 0;
  const int error = errno;
  if (listener >= 0) ::close(listener);
  ::freeaddrinfo(found);
  return bound ? "another program may have held it just then"
               : std::generic_category().message(error);
}

}  // namespace

/// cpp-httplib's server with connections of ours.
class HttpServer::Impl final : public httplib::Server {
 public:
  Impl(const HttpOptions& options, HttpHandlers handlers)
      : options_(options), handlers_(std::move(handlers)) {
    if (::pipe(stop_pipe_.data()) != 0) {
      throw std::system_error(errno, std::generic_category(), "no pipe for the HTTP server");
    }
    new_task_queue = [this] { return new ConnectionThreads(options_.max_connections); };
    set_socket_options(set_listener_options);
    set_payload_max_length(options_.max_body_bytes);
    set_tcp_nodelay(true);
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      return before_body(request, response);
    });
    Post(".*", [this](const httplib::Request& request, httplib::Response& response,
                      const httplib::ContentReader& reader) { post(request, response, reader); });
    // What cpp-httplib refuses by itself: a request that is none, a header too long.
    set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      current->close_after_reply();
      response.set_header("Connection", "close");
      response.set_content(error_body("the request is not one that this server can read"), kJson);
    });

    if (options_.port == 0) {
      port_ = bind_to_any_port(options_.address);
    } else {
      port_ = bind_to_port(options_.address, options_.port) ? options_.port : -1;
    }
    if (port_ <= 0) {
      throw std::runtime_error("cannot listen on " + options_.address + " port " +
                               std::to_string(options_.port) + ": " +
                               listen_failure(options_.address, options_.port) +
                               "; choose another server.port, or 0 for any free one");
    }
    // cpp-httplib lets 5 wait to be accepted; a burst of clients would lose seconds to that.
    ::listen(svr_sock_, kBacklog);
    thread_ = std::thread([this] {
      listen_after_bind();
      ended_ = true;
    });
    // stop() is heard only by a server that runs.
    while (!is_running() && !ended_) std::this_thread::yield();
  }

  ~Impl() override {
    end();
    for (const int end : stop_pipe_) ::close(end);
  }

  void end() {
    if (!thread_.joinable()) return;
    const char byte = 0;
    static_cast<void>(!::write(stop_pipe_[1], &byte, 1));
    stop();
    thread_.join();
  }

  [[nodiscard]] int port() const noexcept { return port_; }
  [[nodiscard]] const std::string& address() const noexcept { return options_.address; }

 private:
  bool process_and_close_socket(socket_t socket) override {
    if (ConnectionThreads::refusing()) {
      turn_away(socket);
    } else {
      Connection connection(socket, stop_pipe_[0],
                            {.request_timeout = options_.request_timeout,
                             .idle_timeout = options_.idle_timeout,
                             .request_bytes = options_.max_body_bytes + kHeaderBytes});
      current = &connection;
      while (svr_sock_ != INVALID_SOCKET && connection.wait_for_request()) {
        bool closed = false;
        if (!answer(*this, connection, closed) || closed || connection.closes()) break;
      }
      connection.flush();
      current = nullptr;
    }
    // So that the client reads the last reply even if it still sends.
    ::shutdown(socket, SHUT_WR);
    std::array<char, 4096> rest{};
    for (int i = 0; i < 64 && ::recv(socket, rest.data(), rest.size(), MSG_DONTWAIT) > 0; ++i) {
    }
    ::close(socket);
    return true;
  }

  static void turn_away(socket_t socket) {
    const std::string body = error_body("all connections are taken");
    const std::string reply =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
        "Connection: close\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
    static_cast<void>(!::send(socket, reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  }

  /// cpp-httplib 0.18's takes the addresses of both ends, 0.11's asks the stream for them.
  template <typename Self>
  static bool answer(Self& self, Connection& connection, bool& closed) {
    if constexpr (requires { self.process_request(connection, false, closed, nullptr); }) {
      return self.process_request(connection, false, closed, nullptr);
    } else {
      return self.process_request(connection, "", 0, "", 0, false, closed, nullptr);
    }
  }

  HandlerResponse before_body(const httplib::Request& request, httplib::Response& response) {
    const bool is_post = request.method == "POST";
    const std::optional<BodyLength> length = body_length(request);
    if (request.path.size() > kLongestPath) {
      refuse(response, 414, "the path is too long");
    } else if (!length) {
      refuse(response, 400, "the headers contradict each other on the length of the body");
    } else if (!is_post && request.method != "GET" && request.method != "HEAD") {
      refuse(response, 405, "only GET, HEAD and POST are served here");
    } else if (is_post && request.is_multipart_form_data()) {
      refuse(response, 415, "the body must be JSON, not a form");
    } else if (is_post && length->bytes > options_.max_body_bytes) {
      refuse(response, 413, too_large());
    } else if (!is_post) {
      // A body where none belongs would be read as the next request.
      if (length->chunked || length->bytes > 0) current->close_after_reply();
      set_reply(response, handlers_.get(Request(request)));
    } else if (!length->chunked && !request.has_header("Content-Length")) {
      refuse(response, 411, "a POST must say its Content-Length, or come in chunks");
    } else {
      return HandlerResponse::Unhandled;
    }
    return HandlerResponse::Handled;
  }

  void post(const httplib::Request& request, httplib::Response& response,
            const httplib::ContentReader& reader) {
    const Request head(request);
    std::optional<HttpReply> refusal = handlers_.admit(head);
    if (refusal) {
      const std::optional<BodyLength> length = body_length(request);
      const bool cheap = length && !length->chunked && length->bytes <= kDiscarded;
      if (!cheap || !reader([](const char*, std::size_t) { return true; })) {
        current->close_after_reply();
      }
      return set_reply(response, *std::move(refusal));
    }
    std::string body;
    bool large = false;
    const bool whole = reader([&](const char* bytes, std::size_t size) {
      large = body.size() + size > options_.max_body_bytes;
      if (!large) body.append(bytes, size);
      return !large;
    });
    if (whole) return set_reply(response, handlers_.post(head, &body));
    static_cast<void>(handlers_.post(head, nullptr));
    if (large) return refuse(response, 413, too_large());
    if (current->timed_out()) return refuse(response, 408, "the body did not come in time");
    refuse(response, 400, "the body cannot be read to its end, or unpacked");
  }

  [[nodiscard]] std::string too_large() const {
    return "the body is larger than " + std::to_string(options_.max_body_bytes) + " bytes";
  }

  const HttpOptions options_;
  const HttpHandlers handlers_;
  std::array<int, 2> stop_pipe_{-1, -1};
  int port_ = -1;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

HttpServer::HttpServer(const HttpOptions& options, HttpHandlers handlers)
    : impl_(std::make_unique<Impl>(options, std::move(handlers))) {}
HttpServer::~HttpServer() = default;

std::string HttpServer::url() const {
  const std::string& address = impl_->address();
  const bool v6 = address.find(':') != address.npos;
  return "http://" + (v6 ? "[" + address + "]" : address) + ":" + std::to_string(impl_->port());
}

void HttpServer::stop() { impl_->end(); }

}  // namespace inference_server
