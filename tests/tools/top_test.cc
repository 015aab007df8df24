// SPDX-License-Identifier: Apache-2.0
//
// `streamgate top`: the table that it makes of a status, what it says when nothing answers, and the
// real command on a pseudo-terminal in front of an endpoint of the test's own.
#include <streamgate/executor/executor.h>
#include <streamgate/metrics/endpoint.h>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "../support/temporary_folder.h"
#include "run_command.h"
#include "top/render.h"
#include "top/status_reply.h"

extern char** environ;

namespace streamgate::tools::of_top {
namespace {

using Json = nlohmann::ordered_json;

void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), text.npos) << '"' << part << "\" is not in: " << text;
}

/// An endpoint in front of an executor without libtorch.
class Service {
 public:
  explicit Service(const policies::Config::Metrics& metrics = {}) : endpoint_(metrics) {
    endpoint_.add("digits", executor_);
  }
  ~Service() { endpoint_.remove("digits"); }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  [[nodiscard]] const std::string& url() const { return endpoint_.url(); }
  [[nodiscard]] executor::Executor& executor() { return executor_; }

 private:
  static executor::ExecutorOptions options() {
    executor::ExecutorOptions options;
    options.config.executor.backend = "inline";
    options.config.executor.threads = 2;
    return options;
  }
  executor::Executor executor_{options()};
  metrics::Endpoint endpoint_;
};

Json example() {
  return Json::parse(R"({"executors": [{
    "name": "digits",
    "provenance": {"backend": "cpu", "libtorch": "2.6", "device": "EPYC"},
    "warnings": [{"id": "reload_failed", "text": "The config is broken."}],
    "gates": [{"class": "raw", "in_use": 3, "limit": 4, "ceiling": 16, "policy": "knee",
               "enforced": false, "wanted": 5, "knee": {"limit": 4, "low": 2, "high": 8}}],
    "queue": {"tasks": 1234567, "bytes": 1048576, "max_tasks": 2000000, "max_bytes": 1073741824},
    "wait_s": {"p50": 0.0005, "p99": 0.02}, "run_s": {"p50": 1.5, "p99": null},
    "arena": {"threads": 8, "at_work": 7}, "streams": {"slots": 32, "leased": 3},
    "workers": {"busy": 2, "idle": 1, "starting": 0, "starts": 4, "calls_queued": 6,
                "exits": {"signalled": 1, "hung": 0}},
    "overflow": {"policy": "cheapest", "away": 2, "measured": {"gain": 1.9}},
    "decisions": [{"class": "raw", "age_s": 3, "from": 3, "to": 4, "reason": "helps",
                   "gain": 0.1, "gain_low": 0.05, "gain_high": 0.15}],
    "history": {"ok_per_s": [1, 4321.5], "refused_per_s": [0, 12], "failed_per_s": [0, 0],
                "gates": [{"ok_per_s": [1, 4000]}]}}]})");
}

TEST(TopTable, ShowsGatesQueueWorkersDecisionsAndWarnings) {
  const std::string text = render_top(example(), {.width = 120});
  expect_has(text, "digits: cpu, libtorch 2.6, EPYC\n");
  expect_has(text, "WARNING    The config is broken.\n");
  expect_has(text, "\nraw                  3        4        16        4,000   4 (2 to 8)");
  expect_has(text, "knee, only watching; asks for 5\n");
  expect_has(text, "queue      1,234,567 of 2,000,000 tasks, 1 MiB of 1 GiB\n");
  expect_has(text, "a second   4,322 ok, 12 rejected or expired, 0 failed\n");
  expect_has(text, "wait 500 us, p99 20 ms; run 1.5 s, p99 -\n");
  expect_has(text, "workers    2 busy, 1 idle, 0 starting; 6 calls wait; ended: 1 signalled\n");
  expect_has(text, "overflow   cheapest; gain 1.9; 2 calls away\n");
  expect_has(text, "3 s ago  raw            3 -> 4     helps         gain +11 % (+5 % to +16 %)\n");
  EXPECT_TRUE(has_warnings(example()));
}

TEST(TopTable, CutsWhatDoesNotFitAndNeverACharacter) {
  Json status = example();
  status["executors"][0]["name"] = std::string(37, 'x') + "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9";
  const std::string text = render_top(status, {.width = 40});
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    EXPECT_LE(end - begin, 40U);
    begin = end + 1;
  }
  EXPECT_NO_THROW((void)Json(text).dump()) << "not UTF-8: " << text;
}

TEST(TopTable, NothingOfAStatusCommandsTheTerminal) {
  Json status = example();
  status["executors"][0]["name"] =
      "a\x1b[2J\x07\x7f\xc2\x9b"
      "b\nc";
  const std::string text = render_top(status, {});
  EXPECT_EQ(text.find('\x1b'), text.npos);
  expect_has(text, "a?[2J????b?c: cpu");
}

TEST(TopTable, WhatIsMissingOrOfAnotherTypeIsAQuestionMark) {
  for (const char* odd : {"{}", R"({"executors": []})", R"({"executors": [{}]})",
                          R"({"executors": [1, null, "x", []]})",
                          R"({"executors": [{"gates": [3], "decisions": [{}], "warnings": ["x"],
                             "workers": [], "history": {"gates": 3, "ok_per_s": {}}}]})"}) {
    EXPECT_FALSE(render_top(Json::parse(odd), {}).empty()) << odd;
  }
}

TEST(Top, OncePrintsTheTableOfARunningService) {
  Service service;
  for (int i = 0; i < 10; ++i) (void)service.executor().submit([] {}).get();
  const CommandResult result = run_command({"top", "--once", "--url", service.url()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_has(result.out, "digits: inline, libtorch");
  expect_has(result.out, "\nexclusive");
  expect_has(result.out, "\nqueue      0 of 100,000 tasks");
}

TEST(Top, JsonIsForPrograms) {
  Service service;
  (void)service.executor().submit([] {}).get();
  const CommandResult result = run_command({"top", "--once", "--json", "--url", service.url()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json status = Json::parse(result.out);
  EXPECT_EQ(status.at("executors").at(0).at("name"), "digits");
  EXPECT_EQ(status.at("executors").at(0).at("tasks").at(0).at("ok"), 1);
}

TEST(Top, AWarningIsExitCode1) {
  Service service;
  const testing::TemporaryFolder folder;
  const auto broken = folder.write("broken.toml", "nonsense = 1");
  EXPECT_ANY_THROW((void)service.executor().reload(broken));
  const CommandResult result = run_command({"top", "--once", "--url", service.url()});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  expect_has(result.out, "WARNING    The config file cannot be used");
}

TEST(Top, SaysWhereNothingAnswersAndWhatToDo) {
  std::string url;
  {
    const Service gone;
    url = gone.url();
  }
  const CommandResult result = run_command({"top", "--once", "--url", url});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(result.out.empty()) << result.out;
  expect_has(result.err, "nothing answers at http://127.0.0.1:");
  expect_has(result.err, "is the service running");
}

TEST(Top, SaysWhereNoStatusIsServedOrNoAddressIsGiven) {
  Service service(policies::Config::Metrics{.status = policies::ShowStatus::kNever});
  expect_has(run_command({"top", "--once", "--url", service.url()}).err, "set metrics.status");
  for (const char* url : {"ftp://x", "http://", "127.0.0.1:80"}) {
    const CommandResult result = run_command({"top", "--once", std::string("--url=") + url});
    EXPECT_EQ(result.exit_code, 2) << url;
    expect_has(result.err, "is not an address");
  }
  EXPECT_EQ(run_command({"top", "--once"}).exit_code, 2) << "neither --url nor --config";
}

TEST(Top, TakesTheAddressFromTheServicesConfig) {
  std::string port;
  {
    const Service finder;
    port = finder.url().substr(17, finder.url().rfind('/') - 17);
  }
  const testing::TemporaryFolder folder;
  const auto file = folder.write("s.toml", "[metrics]\nport = " + port + "\n");
  Service service(policies::load_config(file).metrics);
  EXPECT_EQ(run_command({"top", "--once", "--config", file.string()}).exit_code, 0);
  const auto any = folder.write("any.toml", "");
  expect_has(run_command({"top", "--once", "--config", any.string()}).err, "metrics.port is 0");
}

TEST(Top, WithoutATerminalItRefusesToDraw) {
  Service service;
  const CommandResult result = run_command({"top", "--url", service.url()});
  EXPECT_EQ(result.exit_code, 2);
  expect_has(result.err, "--once");
}

TEST(Top, DrawsOnATerminalUntilInterruptedAndLeavesItAsItWas) {
  Service service;
  const int screen = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(screen, 0);
  ASSERT_EQ(grantpt(screen), 0);
  ASSERT_EQ(unlockpt(screen), 0);
  const std::string name = ptsname(screen);
  const winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  const int terminal = open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
  ioctl(terminal, TIOCSWINSZ, &size);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, terminal, STDOUT_FILENO);
  std::string url = service.url();
  std::string command = STREAMGATE_COMMAND;
  std::string top = "top";
  std::string option = "--url";
  std::string every = "--every=0.1";
  std::array<char*, 6> argv{command.data(), top.data(),   option.data(),
                            url.data(),     every.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, command.c_str(), &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(terminal);

  std::string drawn;
  const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto times = [&](const std::string& part) {
    int count = 0;
    for (std::size_t at = drawn.find(part); at != drawn.npos; at = drawn.find(part, at + 1))
      ++count;
    return count;
  };
  bool interrupted = false;
  while (std::chrono::steady_clock::now() < guard) {
    pollfd polled{screen, POLLIN, 0};
    if (poll(&polled, 1, 1'000) <= 0) continue;
    std::array<char, 4'096> buffer{};
    const ssize_t got = read(screen, buffer.data(), buffer.size());
    if (got <= 0) break;  // The last who had the terminal open has closed it.
    drawn.append(buffer.data(), static_cast<std::size_t>(got));
    if (!interrupted && times("digits: inline") >= 3) {
      kill(child, SIGINT);
      interrupted = true;
    }
  }
  close(screen);
  if (!interrupted) kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(times("\x1b[?1049h"), 1) << "it has a screen of its own";
  EXPECT_TRUE(drawn.ends_with("\x1b[?25h\x1b[?1049l")) << "and gives the old one back";
}

}  // namespace
}  // namespace streamgate::tools::of_top
