// SPDX-License-Identifier: Apache-2.0
#include "connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace inference_server {

bool Connection::wait_for_request() {
  flush();
  if (closes_) return false;
  if (begin_ == end_) {
    std::array<pollfd, 2> polled{pollfd{socket_, POLLIN, 0}, pollfd{stopped_, POLLIN, 0}};
    const Clock::time_point until = Clock::now() + limits_.idle_timeout;
    int ready = 0;
    do {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
      ready =
          ::poll(polled.data(), polled.size(), static_cast<int>(std::max<long>(0, left.count())));
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0 || polled[1].revents != 0) return false;
  }
  read_by_ = Clock::now() + limits_.request_timeout;
  write_by_ = {};
  bytes_left_ = limits_.request_bytes;
  return true;
}

bool Connection::client_gone() const noexcept {
#ifdef POLLRDHUP
  constexpr short kGone = POLLRDHUP;
#else
  constexpr short kGone = 0;
#endif
  pollfd polled{socket_, kGone, 0};
  return ::poll(&polled, 1, 0) > 0 && (polled.revents & (kGone | POLLHUP | POLLERR)) != 0;
}

bool Connection::wait(short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    // A server that stops waits for no request's rest; a reply may still be taken.
    std::array<pollfd, 2> polled{pollfd{socket_, events, 0},
                                 pollfd{events == POLLIN ? stopped_ : -1, POLLIN, 0}};
    const int ready = left.count() <= 0
                          ? 0
                          : ::poll(polled.data(), polled.size(), static_cast<int>(left.count()));
    if (ready > 0 && polled[0].revents != 0) return true;
    if (ready < 0 && errno == EINTR) continue;
    timed_out_ = ready == 0;
    closes_ = true;
    return false;
  }
}

bool Connection::is_readable() const { return begin_ != end_ || !closes_; }
bool Connection::is_writable() const { return true; }

ssize_t Connection::fill() {
  flush();
  for (;;) {
    // Most of a request is there at once; what comes drop by drop has its end all the same.
    const bool late = Clock::now() >= read_by_;
    const ssize_t got = late ? -1 : ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (late || (got < 0 && errno == EAGAIN)) {
      if (!wait(POLLIN, read_by_)) return -1;
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    begin_ = 0;
    end_ = got > 0 ? static_cast<std::size_t>(got) : 0;
    if (got <= 0) closes_ = true;
    return got;
  }
}

ssize_t Connection::read(char* bytes, size_t size) {
  if (bytes_left_ == 0) {
    closes_ = true;
    return -1;
  }
  if (begin_ == end_) {
    const ssize_t got = fill();
    if (got <= 0) return got;
  }
  const std::size_t taken = std::min({size, end_ - begin_, bytes_left_});
  std::memcpy(bytes, buffer_.data() + begin_, taken);
  begin_ += taken;
  bytes_left_ -= taken;
  return static_cast<ssize_t>(taken);
}

ssize_t Connection::write(const char* bytes, size_t size) {
  if (unsent_.size() + size > kBufferBytes) flush();
  if (size >= kBufferBytes) {
    send({bytes, size});
  } else {
    unsent_.append(bytes, size);
  }
  return broken_ ? -1 : static_cast<ssize_t>(size);
}

void Connection::flush() {
  send(unsent_);
  unsent_.clear();
}

void Connection::send(std::string_view bytes) {
  if (bytes.empty() || broken_) return;
  if (write_by_ == Clock::time_point{}) write_by_ = Clock::now() + limits_.request_timeout;
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno != EINTR && (errno != EAGAIN || !wait(POLLOUT, write_by_))) {
      closes_ = broken_ = true;
      return;
    }
  }
}

// Asked for once a request by cpp-httplib, for logs that this server does not write.
void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}
void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

}  // namespace inference_server
