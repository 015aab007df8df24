// SPDX-License-Identifier: Apache-2.0
//
// `streamgate probe` where things go wrong: with its input, with what it may write, with the
// machine, and with the person at the keyboard.
#include <streamgate/executor/probe/reproducer.h>
#include <streamgate/policies/fault_model.h>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "../support/event.h"
#include "probe_command.h"

namespace streamgate::testing {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

struct WrongInput {
  std::vector<std::string> arguments;
  std::string says;
};

void expect_refused(const std::vector<WrongInput>& cases) {
  for (const WrongInput& wrong : cases) {
    const ChildResult run = probe(wrong.arguments);
    EXPECT_EQ(run.exit_code, 2) << wrong.says << run.err;
    EXPECT_TRUE(run.out.empty()) << run.out;
    EXPECT_TRUE(contains(run.err, wrong.says)) << wrong.says << '\n' << run.err;
    EXPECT_FALSE(contains(run.err, "trying")) << "found out too late: " << run.err;
  }
}

TEST(ProbeRefuses, WrongInputBeforeAnythingIsRun) {
  const TemporaryFolder folder;
  const std::string malformed = folder.write("malformed.toml", "[class.kernel\nsafe_threads = 2\n");
  const std::string unknown = folder.write("unknown.toml", "[class.kernel]\nsafe_threads = 0\n");
  expect_refused(
      {{{}, "--backend"},
       {{"--backend", "voodoo"}, "the backend 'voodoo' cannot be probed"},
       {{"--backend", "cpu", "--fault-model", "hanging"}, "for the backend emulator only"},
       {{"--backend", "emulator", "--fault-model", malformed}, malformed + ":"},
       {{"--backend", "emulator", "--fault-model", unknown}, "safe_threads"},
       {{"--backend", "emulator", "--fault-model", "/no/such/model.toml"}, "/no/such/model.toml"},
       {{"--backend", "emulator", "--out", "/no/such/folder/limits.toml"},
        "/no/such/folder/limits.toml"},
       {{"--backend", "emulator", "--out", folder.path().string()}, "it is a folder"},
       {{"--backend", "emulator", "--reproducer", malformed}, malformed}});
  // The check for what may be written leaves nothing behind.
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2);
}

TEST(ProbeRefuses, LongNumbersOutOfRange) {
  std::vector<WrongInput> cases;
  const auto add = [&](const std::string& option, std::vector<std::string> values,
                       const std::string& says) {
    for (std::string& value : values) {
      cases.push_back({{"--backend", "emulator", option, std::move(value)}, says});
    }
  };
  add("--max-threads", {"0", "1000", "-3", "two"}, "from 1 to 64");
  add("--confidence", {"0", "1", "1.5", "nan", "-1"}, "above 0 and below 1");
  add("--workers", {"-1", "65", "two"}, "from 0 to 64");
  add("--budget-seconds", {"0", "-1", "nan", "inf"}, "from 0.001");
  expect_refused(cases);
}

TEST(ProbeRefuses, ToWriteALimitsFileOfWhatItDidNotMeasure) {
  const TemporaryFolder folder;
  const std::string slow = folder.write("slow.toml", "[device]\nexecute_us = 50000\n");
  const std::string out = (folder.path() / "limits.toml").string();
  const Probed measured = probed(slow, {"--budget-seconds", "3", "--out", out});
  EXPECT_EQ(measured.run.exit_code, 1) << measured.run.err;
  EXPECT_TRUE(contains(measured.run.err, "not everything was measured")) << measured.run.err;
  EXPECT_EQ(measured.report.at("measured"), false);
  EXPECT_FALSE(fs::exists(out));
}

#if defined(__linux__)
/// Whether a process has that text among its arguments.
bool somebody_runs(const std::string& text) {
  std::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    std::ifstream file(process->path() / "cmdline", std::ios::binary);
    const std::string line{std::istreambuf_iterator<char>(file), {}};
    if (contains(line, text) && contains(line, "probe-trial")) return true;
  }
  return false;
}

std::string content(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// A probe that is under way, and is known by the file of its fault model.
class Running {
 public:
  Running(const TemporaryFolder& folder, const std::string& model)
      : model_(folder.write("running.toml", model)),
        out_(folder.path() / "limits.toml"),
        words_(folder.path() / "words.txt") {
    const std::string out = out_.string();
    const std::string words = words_.string();
    std::vector<std::string> arguments = {STREAMGATE_COMMAND, "probe", "--backend", "emulator",
                                          "--fault-model",    model_,  "--out",     out,
                                          "--budget-seconds", "604800"};
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, words.c_str(), O_WRONLY | O_CREAT,
                                     0600);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    const int failed =
        posix_spawn(&process_, STREAMGATE_COMMAND, &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw std::runtime_error("cannot run the probe");
  }
  ~Running() {
    if (process_ > 0) {
      kill(process_, SIGKILL);
      waitpid(process_, nullptr, 0);
    }
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  [[nodiscard]] bool has_children() const { return somebody_runs(model_); }
  [[nodiscard]] bool wrote_limits() const { return fs::exists(out_); }
  [[nodiscard]] std::string words() const { return content(words_); }
  void send(int signal) const { kill(process_, signal); }

  /// How it ended, in the terms of waitpid; nothing when the guard came first.
  std::optional<int> end() {
    int status = 0;
    if (!eventually([&] { return waitpid(process_, &status, WNOHANG) == process_; })) {
      return std::nullopt;
    }
    process_ = -1;
    return status;
  }

 private:
  std::string model_;
  fs::path out_;
  fs::path words_;
  pid_t process_ = -1;
};

/// A trial takes minutes, in which it writes nothing: SIGPIPE must not be what ends it.
constexpr const char* kSlow = "[device]\nexecute_us = 1000000\n";
constexpr const char* kHanging =
    "[class.raw]\nsafe_threads = 1\nfault = \"hang\"\nprobability = 1.0\n";

TEST(ProbeInterrupted, ByCtrlCEndsItsChildrenWritesNothingAndSaysSo) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const TemporaryFolder folder;
    Running running(folder, kHanging);
    ASSERT_TRUE(eventually([&] {
      return running.has_children() && contains(running.words(), "trying");
    })) << running.words();
    running.send(signal);
    const std::optional<int> status = running.end();
    ASSERT_TRUE(status) << "it did not end";
    ASSERT_TRUE(WIFEXITED(*status));
    EXPECT_EQ(WEXITSTATUS(*status), 2);
    EXPECT_TRUE(contains(running.words(), "interrupted")) << running.words();
    EXPECT_FALSE(running.has_children());
    EXPECT_FALSE(running.wrote_limits());
    // The file of the model and that of the words, nothing half written.
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2);
  }
}

TEST(ProbeInterrupted, ByItsOwnDeathTakesItsChildrenAlong) {
  const TemporaryFolder folder;
  Running running(folder, kSlow);
  // Not at the first look at the device, whose process soon ends anyway: in a trial that is long.
  ASSERT_TRUE(eventually([&] {
    return contains(running.words(), "trying") && running.has_children();
  })) << running.words();
  running.send(SIGKILL);
  ASSERT_TRUE(running.end());
  EXPECT_TRUE(eventually([&] { return !running.has_children(); }));
}

TEST(ProbeRefuses, ToTakeALackOfProcessesForAFailureOfTheDevice) {
  // A limit of processes binds nobody who is root: then as another user.
  std::vector<std::string> as_nobody;
  if (geteuid() == 0) {
    as_nobody = {"/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"};
    if (!fs::exists(as_nobody[0])) GTEST_SKIP() << "no setpriv to become another user with";
  }
  if (!fs::exists("/usr/bin/prlimit")) GTEST_SKIP() << "no prlimit";
  const auto command = [&](std::vector<std::string> before, std::vector<std::string> arguments) {
    before.insert(before.end(), as_nobody.begin(), as_nobody.end());
    before.push_back(STREAMGATE_COMMAND);
    before.insert(before.end(), arguments.begin(), arguments.end());
    return run_child(std::move(before), kProbeGuard);
  };
  if (command({"/usr/bin/prlimit"}, {"--version"}).exit_code != 0) {
    GTEST_SKIP() << "another user cannot run this build";
  }
  const ChildResult run = command({"/usr/bin/prlimit", "--nproc=1"},
                                  {"probe", "--backend", "emulator", "--budget-seconds", "5"});
  EXPECT_EQ(run.exit_code, 2) << run.out << run.err;
  // Libraries below libtorch say there that they get no thread; a table of classes is not there.
  EXPECT_FALSE(contains(run.out, "ceiling")) << run.out;
  EXPECT_TRUE(contains(run.err, "cannot start a child process")) << run.err;
  EXPECT_TRUE(contains(run.err, "says nothing of the device")) << run.err;
}

TEST(ProbeRefuses, ToTakeALackOfThreadsForAFailureOfTheDevice) {
  if (geteuid() != 0 || !fs::exists("/usr/bin/setpriv") || !fs::exists("/usr/bin/prlimit")) {
    GTEST_SKIP() << "needs a user who runs nothing else";
  }
  // Enough for the parent, a child and the device's threads, not for 64 more.
  const ChildResult run =
      run_child({"/usr/bin/prlimit", "--nproc=24", "/usr/bin/setpriv", "--reuid", "65533",
                 "--regid", "65533", "--clear-groups", STREAMGATE_COMMAND, "probe", "--backend",
                 "emulator", "--max-threads", "32", "--budget-seconds", "10"},
                kProbeGuard);
  EXPECT_EQ(run.exit_code, 2) << run.out << run.err;
  EXPECT_TRUE(contains(run.err, "a trial cannot run: cannot start")) << run.err;
}
#endif

#if defined(STREAMGATE_CXX)
TEST(ProbeReproducer, LongCompilesAloneAndShowsTheFailure) {
  const TemporaryFolder folder;
  const std::string model = folder.write(
      "model.toml", "[class.kernel]\nsafe_threads = 1\nfault = \"segv\"\nprobability = 1.0\n");
  const fs::path target = folder.path() / "report";
  const ChildResult run = probe({"--backend", "emulator", "--fault-model", model, "--max-threads",
                                 "2", "--reproducer", target.string()});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(contains(content(target / "README.md"), "SIGSEGV")) << content(target / "README.md");
  EXPECT_TRUE(contains(content(target / "README.md"), "pkg-config --cflags --libs streamgate"));
  const std::string program = (target / "reproducer").string();
  const ChildResult compiled =
      run_child({STREAMGATE_CXX, "-std=c++20", (target / "reproducer.cc").string(), "-o", program,
                 "-I", STREAMGATE_INCLUDE_DIR, STREAMGATE_EXECUTOR_LIBRARY,
                 STREAMGATE_POLICIES_LIBRARY, "-pthread"},
                kProbeGuard);
  ASSERT_EQ(compiled.exit_code, 0) << compiled.err;
  const ChildResult shown = run_child({program}, kProbeGuard);
  EXPECT_EQ(shown.signal, SIGSEGV) << shown.out << shown.err;
}
#endif

#if defined(STREAMGATE_TORCH_PREFIX)
// Nothing of libtorch fails on the CPU; the program is the same as for a device where it does.
TEST(ProbeReproducer, LongOfLibtorchCompilesAsItSaysAndComparesItsResults) {
  const executor::probe::Failure failure{
      .name = "SIGSEGV", .parties = {{policies::OpClass::kRaw, 2}}, .operation = "aten::linear"};
  const auto written =
      executor::probe::reproducer_of({.backend = "cpu"}, failure, {.backend = "cpu"});
  ASSERT_TRUE(written);
  EXPECT_TRUE(contains(written->instructions, "SIGSEGV with threads raw:2 of libtorch on cpu"));
  const TemporaryFolder folder;
  static_cast<void>(folder.write("reproducer.cc", written->program));
  const std::size_t begin = written->instructions.find("    c++ ");
  ASSERT_NE(begin, std::string::npos) << written->instructions;
  const std::string compile =
      written->instructions.substr(begin, written->instructions.find('\n', begin) - begin);
  const ChildResult compiled = run_child(
      {"/bin/sh", "-c",
       "cd '" + folder.path().string() + "' && TORCH='" STREAMGATE_TORCH_PREFIX "' && " + compile},
      kProbeGuard);
  ASSERT_EQ(compiled.exit_code, 0) << compile << '\n' << compiled.err;
  const ChildResult shown = run_child({(folder.path() / "reproducer").string()}, kProbeGuard);
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_TRUE(contains(shown.out, "nothing failed this time")) << shown.out;
}
#endif

}  // namespace
}  // namespace streamgate::testing
