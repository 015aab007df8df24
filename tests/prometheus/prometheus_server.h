// SPDX-License-Identifier: Apache-2.0
//
// A real Prometheus on loopback, with a folder of its own for its data, for as long as the object
// lives.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "../support/event.h"
#include "../support/temporary_folder.h"
#include "../support/http_get.h"

extern char** environ;

namespace streamgate::testing {

/// The path of a program that is on PATH; empty when it is not.
inline std::string on_path(std::string_view program) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = folder + "/" + std::string(program);
    if (::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

/// A TCP port of 127.0.0.1 that was free just now: Prometheus does not say which it took for 0.
inline std::uint16_t free_port() {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  const bool bound =
      ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  ::close(listener);
  if (!bound) throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

inline std::string percent_encoded(std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
      encoded += c;
    } else {
      encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return encoded;
}

/// Externally synchronised. The constructor throws when it does not come up; the destructor kills
/// it. What Prometheus logs is in log().
class PrometheusServer {
 public:
  /// Scrapes those ports of 127.0.0.1 every second, and evaluates the rules as often.
  PrometheusServer(const std::string& program, const std::vector<std::uint16_t>& targets,
                   const std::filesystem::path& rules)
      : port_(free_port()) {
    std::string config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: ['" +
                         rules.string() + "']\nscrape_configs:\n- job_name: test\n" +
                         "  static_configs: [{targets: [";
    for (const std::uint16_t target : targets)
      config += "'127.0.0.1:" + std::to_string(target) + "',";
    write_in_place(folder_ / "prometheus.yml", config + "]}]\n");
    std::vector<std::string> arguments = {
        program, "--config.file=" + (folder_ / "prometheus.yml").string(),
        "--storage.tsdb.path=" + (folder_ / "data").string(),
        "--web.listen-address=127.0.0.1:" + std::to_string(port_), "--log.level=warn"};
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const std::string log_file = (folder_ / "log").string();
    for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
      posix_spawn_file_actions_addopen(&actions, descriptor, log_file.c_str(),
                                       O_WRONLY | O_CREAT | O_APPEND, 0600);
    }
    const int failed =
        ::posix_spawn(&child_, program.c_str(), &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw std::system_error(failed, std::generic_category(), program);
    const bool ready = eventually([this] {
      try {
        return http_get(url("/-/ready")).status == 200;
      } catch (const std::exception&) {
        return ::waitpid(child_, nullptr, WNOHANG) != 0 ? throw std::runtime_error(log()) : false;
      }
    });
    if (!ready) throw std::runtime_error("Prometheus is not ready: " + log());
  }
  ~PrometheusServer() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  PrometheusServer(const PrometheusServer&) = delete;
  PrometheusServer& operator=(const PrometheusServer&) = delete;

  /// The answer's "data"; throws for an error.
  [[nodiscard]] nlohmann::json ask(const std::string& path) const {
    const HttpReply reply = http_get(url(path));
    const nlohmann::json answer = nlohmann::json::parse(reply.body);
    if (answer.at("status") != "success") throw std::runtime_error(path + ": " + reply.body);
    return answer.at("data");
  }
  /// The series that an instant query finds, each with "metric" and "value".
  [[nodiscard]] nlohmann::json query(const std::string& text) const {
    return ask("/api/v1/query?query=" + percent_encoded(text)).at("result");
  }
  [[nodiscard]] std::string log() const {
    std::ostringstream text;
    text << std::ifstream(folder_ / "log").rdbuf();
    return text.str();
  }

 private:
  [[nodiscard]] std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

  const TemporaryFolder folder_;
  const std::uint16_t port_;
  pid_t child_ = -1;
};

}  // namespace streamgate::testing
