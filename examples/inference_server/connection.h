// SPDX-License-Identifier: Apache-2.0
//
// One connection's socket, as cpp-httplib reads and writes it, with an end to every wait: a whole
// request has one deadline and one number of bytes. cpp-httplib's own waits anew for each byte, and
// lets a line of a header grow while its client sends.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace inference_server {

struct ConnectionLimits {
  std::chrono::milliseconds request_timeout;
  std::chrono::milliseconds idle_timeout;
  std::size_t request_bytes;  ///< Of one request, headers and all.
};

/// Confined to its connection's thread. Borrows the socket, and a descriptor that becomes readable
/// when the server stops. Blocks to its deadlines; what fails is 0 or -1, as cpp-httplib takes it.
class Connection final : public httplib::Stream {
 public:
  Connection(socket_t socket, int stopped, const ConnectionLimits& limits)
      : socket_(socket), stopped_(stopped), limits_(limits) {}

  /// Waits for the first byte of the next request; false when there will be none.
  [[nodiscard]] bool wait_for_request();
  /// Sends what was written. Reading does so too: who is asked to go on must hear it.
  void flush();

  /// This connection is not to be used for another request.
  void close_after_reply() noexcept { closes_ = true; }
  [[nodiscard]] bool closes() const noexcept { return closes_; }
  [[nodiscard]] bool timed_out() const noexcept { return timed_out_; }
  [[nodiscard]] bool client_gone() const noexcept;

  [[nodiscard]] bool is_readable() const override;
  [[nodiscard]] bool is_writable() const override;
  ssize_t read(char* bytes, size_t size) override;
  ssize_t write(const char* bytes, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  [[nodiscard]] socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  [[nodiscard]] bool wait(short events, Clock::time_point deadline);
  [[nodiscard]] ssize_t fill();
  void send(std::string_view bytes);

  const socket_t socket_;
  const int stopped_;
  const ConnectionLimits limits_;
  Clock::time_point read_by_{};
  Clock::time_point write_by_{};  ///< Zero until the reply begins.
  std::size_t bytes_left_ = 0;
  bool closes_ = false;
  bool timed_out_ = false;
  bool broken_ = false;  ///< Nobody takes what is sent.
  static constexpr std::size_t kBufferBytes = 32'768;
  std::array<char, kBufferBytes> buffer_{};  ///< What has come, perhaps of the next request, too.
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  /// cpp-httplib writes head and body apart, and each packet wakes the client.
  std::string unsent_;
};

}  // namespace inference_server
