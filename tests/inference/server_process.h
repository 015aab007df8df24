// SPDX-License-Identifier: Apache-2.0
//
// The real server as a child process, the requests that tests send it, and digits to ask it about.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "../support/child_process.h"
#include "../support/event.h"
#include "../support/temporary_folder.h"
#include "../support/http_get.h"

namespace streamgate::testing {

/// A digits model, trained once for all tests of this program, badly: one epoch.
inline const std::filesystem::path& trained_digits() {
  static const TemporaryFolder& folder = *new TemporaryFolder;
  static const std::filesystem::path file = [] {
    // It trains, and then ends for want of the executor's config.
    const ChildResult trained =
        run_child({STREAMGATE_INFERENCE_SERVER, "--digits", folder.path().string(), "--epochs", "1",
                   "--executor-config", (folder / "none.toml").string()},
                  std::chrono::seconds(120));
    if (!std::filesystem::exists(folder / "digits.pt")) throw std::runtime_error(trained.err);
    std::atexit([] { std::filesystem::remove_all(folder.path()); });
    return folder / "digits.pt";
  }();
  return file;
}

struct ServerOptions {
  std::string server{};    ///< More of [server].
  std::string executor{};  ///< The executor's config.
};

/// Starts the server on free ports with the digits model. The constructor waits until it serves;
/// the destructor kills it. Externally synchronised, but for the requests.
class ServerProcess {
 public:
  explicit ServerProcess(const ServerOptions& options = {}) {
    write_in_place(executor_config(), options.executor);
    write_in_place(folder_ / "server.toml",
                   "[server]\nport = 0\nexecutor_config = 'streamgate.toml'\n" + options.server +
                       "\n[[model]]\nname = 'digits'\nop_class = 'raw'\nfile = '" +
                       trained_digits().string() +
                       "'\ninputs = [{name='images', datatype='FP32', shape=[-1,1,28,28]}]\n"
                       "outputs = [{name='scores', datatype='FP32', shape=[-1,10]}]\n");
    std::array<int, 2> pipe_ends{};
    if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    out_ = pipe_ends[0];
    std::vector<std::string> arguments = {STREAMGATE_INFERENCE_SERVER, "--config",
                                          (folder_ / "server.toml").string()};
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
    const std::string log = (folder_ / "log").string();
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    const int failed = ::posix_spawn(&child_, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(pipe_ends[1]);
    if (failed != 0) throw std::system_error(failed, std::generic_category(), argv[0]);
    const std::string said = read_until("metrics ");
    url_ = after(said, "serving ");
    url_.resize(url_.find("/v2"));
    metrics_url_ = after(said, "metrics ");
  }
  ~ServerProcess() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(out_);
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  [[nodiscard]] std::filesystem::path executor_config() const {
    return folder_ / "streamgate.toml";
  }
  [[nodiscard]] std::filesystem::path config() const { return folder_ / "server.toml"; }
  [[nodiscard]] const std::string& metrics_url() const { return metrics_url_; }
  [[nodiscard]] std::uint16_t port() const {
    return static_cast<std::uint16_t>(std::stoi(url_.substr(url_.rfind(':') + 1)));
  }
  [[nodiscard]] pid_t pid() const { return child_; }
  [[nodiscard]] std::string log() const {
    std::ostringstream text;
    text << std::ifstream(folder_ / "log").rdbuf();
    return text.str();
  }

  void signal(int number) const { ::kill(child_, number); }
  /// Everything that it says up to such a line, that included.
  std::string read_until(std::string_view begin) {
    while (true) {
      const std::size_t at = said_.find(begin);
      if (at != said_.npos && said_.find('\n', at) != said_.npos) return said_;
      pollfd polled{out_, POLLIN, 0};
      std::array<char, 4096> buffer{};
      const int ready = ::poll(&polled, 1, 60'000);
      const ssize_t got = ready > 0 ? ::read(out_, buffer.data(), buffer.size()) : 0;
      if (got <= 0) throw std::runtime_error("the server said only: " + said_ + log());
      said_.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }
  /// Its exit code; -1 for a signal. Throws when the guard came first.
  int wait_for_exit() {
    int status = 0;
    if (!eventually([&] { return ::waitpid(child_, &status, WNOHANG) == child_; })) {
      throw std::runtime_error("the server does not end");
    }
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  [[nodiscard]] HttpReply get(const std::string& path) const {
    return send("GET " + path + " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  }
  [[nodiscard]] HttpReply post(const std::string& path, const std::string& body,
                               const std::string& headers = "") const {
    return send(post_text(path, body, headers));
  }
  [[nodiscard]] static std::string post_text(const std::string& path, const std::string& body,
                                             const std::string& headers = "") {
    return "POST " + path + " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  /// Any bytes; the reply to them. Throws where there is none.
  [[nodiscard]] HttpReply send(const std::string& text) const {
    Connection connection(AF_INET, port());
    connection.send(text);
    return reply_of(connection.receive_all());
  }
  [[nodiscard]] static HttpReply reply_of(const std::string& text) {
    const std::size_t head = text.find("\r\n\r\n");
    if (!text.starts_with("HTTP/1.1 ") || head == text.npos) {
      throw std::runtime_error("no HTTP reply: " + text);
    }
    return {.status = std::stoi(text.substr(9)), .body = text.substr(head + 4)};
  }

 private:
  static std::string after(const std::string& text, const std::string& word) {
    const std::size_t begin = text.find(word) + word.size();
    return text.substr(begin, text.find('\n', begin) - begin);
  }

  const TemporaryFolder folder_;
  pid_t child_ = -1;
  int out_ = -1;
  std::string said_;
  std::string url_;
  std::string metrics_url_;
};

inline constexpr const char* kInfer = "/v2/models/digits/infer";

/// A request for so many digits, all alike.
inline std::string digits_body(std::size_t digits, const std::string& more = "") {
  std::string data = "0.5";
  for (std::size_t i = 1; i < digits * 28 * 28; ++i) data += ",0.5";
  return R"({"inputs":[{"name":"images","datatype":"FP32","shape":[)" + std::to_string(digits) +
         ",1,28,28],\"data\":[" + data + "]}]" + more + "}";
}

/// What an error's reply says; throws where it is not JSON with an "error".
inline std::string error_of(const HttpReply& reply) {
  return nlohmann::json::parse(reply.body).at("error").get<std::string>();
}

}  // namespace streamgate::testing
