// SPDX-License-Identifier: Apache-2.0
//
// The HTTP that tests need and no more: one GET over a plain socket, and connections that say
// nothing. Numeric hosts only.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace streamgate::testing {

/// A TCP connection to 127.0.0.1 or ::1, closed with the object. Every wait on it ends after the
/// timeout, as an std::runtime_error.
class Connection {
 public:
  Connection(int family, std::uint16_t port,
             std::chrono::seconds timeout = std::chrono::seconds(20))
      : socket_(::socket(family, SOCK_STREAM, 0)) {
    if (socket_ < 0) fail("socket");
    timeval limit{};
    limit.tv_sec = static_cast<decltype(limit.tv_sec)>(timeout.count());
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    v6.sin6_addr = in6addr_loopback;
    const bool is_v4 = family == AF_INET;
    const auto* address =
        is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
    const socklen_t length = is_v4 ? sizeof(v4) : sizeof(v6);
    if (::connect(socket_, address, length) != 0) {
      const int error = errno;
      ::close(socket_);
      errno = error;
      fail("connect");
    }
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) fail("send");
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  /// Everything until the other side closes.
  [[nodiscard]] std::string receive_all() {
    std::string text;
    char buffer[16'384];
    for (;;) {
      const ssize_t got = ::recv(socket_, buffer, sizeof(buffer), 0);
      if (got < 0) fail("recv");
      if (got == 0) return text;
      text.append(buffer, static_cast<std::size_t>(got));
    }
  }

 private:
  [[noreturn]] static void fail(const char* what) {
    throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
  }
  int socket_;
};

/// A body that came in chunks, put together.
inline std::string unchunked(std::string_view chunks) {
  std::string body;
  for (;;) {
    const std::size_t size = std::stoul(std::string(chunks.substr(0, 16)), nullptr, 16);
    const std::size_t begin = chunks.find("\r\n") + 2;
    if (size == 0) return body;
    if (begin + size + 2 > chunks.size()) throw std::runtime_error("the reply was cut off");
    body += chunks.substr(begin, size);
    chunks.remove_prefix(begin + size + 2);
  }
}

struct HttpReply {
  int status = 0;
  std::string body;
};

/// GETs a URL such as "http://127.0.0.1:8080/metrics". Throws std::runtime_error for a URL of
/// another host, a connection that fails, and a reply that is not HTTP or not whole.
inline HttpReply http_get(const std::string& url,
                          std::chrono::seconds timeout = std::chrono::seconds(20)) {
  std::string_view rest = url;
  int family = 0;
  for (const auto& [prefix, its_family] :
       {std::pair{"http://127.0.0.1:", AF_INET}, std::pair{"http://[::1]:", AF_INET6}}) {
    if (!rest.starts_with(prefix)) continue;
    rest.remove_prefix(std::strlen(prefix));
    family = its_family;
  }
  const std::size_t slash = rest.find('/');
  if (family == 0 || slash == rest.npos) throw std::runtime_error("not a URL for tests: " + url);
  const std::string authority(url.substr(7, url.find('/', 7) - 7));
  Connection connection(
      family, static_cast<std::uint16_t>(std::stoi(std::string(rest.substr(0, slash)))), timeout);
  connection.send("GET " + std::string(rest.substr(slash)) + " HTTP/1.1\r\nHost: " + authority +
                  "\r\nConnection: close\r\n\r\n");
  const std::string reply = connection.receive_all();

  const std::size_t head = reply.find("\r\n\r\n");
  if (!reply.starts_with("HTTP/1.1 ") || head == reply.npos) {
    throw std::runtime_error("not an HTTP reply: " + reply.substr(0, 200));
  }
  HttpReply result{.status = std::stoi(reply.substr(9)), .body = reply.substr(head + 4)};
  const std::size_t length = reply.find("Content-Length: ");
  if (length < head && std::stoul(reply.substr(length + 16)) != result.body.size()) {
    throw std::runtime_error("the reply was cut off");
  }
  if (reply.find("Transfer-Encoding: chunked\r\n") < head) result.body = unchunked(result.body);
  return result;
}

}  // namespace streamgate::testing
