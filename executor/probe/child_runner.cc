// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/child_runner.h>

#include <streamgate/executor/probe/internal/child_process.h>
#include <streamgate/executor/probe/internal/company.h>

#include <signal.h>
#include <sys/wait.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <sstream>
#include <utility>

namespace streamgate::executor::probe {
namespace {

using Clock = std::chrono::steady_clock;
using policies::index_of;
using policies::OpClass;
using std::chrono::milliseconds;

constexpr milliseconds kTick{20};

std::string this_program() {
#if defined(__APPLE__)
  std::array<char, 4096> path{};
  std::uint32_t size = path.size();
  if (_NSGetExecutablePath(path.data(), &size) == 0) return path.data();
  return {};
#else
  // Not what it points to: this works even when that file was replaced by a newer build meanwhile.
  return "/proc/self/exe";
#endif
}

std::string name_of(int signal) {
  static constexpr std::pair<int, const char*> kNames[] = {
      {SIGSEGV, "SIGSEGV"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGILL, "SIGILL"},
      {SIGFPE, "SIGFPE"},   {SIGTRAP, "SIGTRAP"}, {SIGSYS, "SIGSYS"},   {SIGKILL, "SIGKILL"},
      {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"},   {SIGHUP, "SIGHUP"},   {SIGQUIT, "SIGQUIT"},
      {SIGXCPU, "SIGXCPU"}, {SIGALRM, "SIGALRM"}, {SIGUSR1, "SIGUSR1"}, {SIGPIPE, "SIGPIPE"}};
  for (const auto& [number, name] : kNames) {
    if (number == signal) return name;
  }
  return "signal " + std::to_string(signal);
}

/// Signals that come from people and from the system, never from a device.
bool from_outside(int signal) {
  static constexpr int kOutside[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGXCPU};
  return std::find(std::begin(kOutside), std::end(kOutside), signal) != std::end(kOutside);
}

/// The last three lines that say anything, and not what the one before said: threads that die
/// together have the same last words.
std::string last_lines(const std::string& words) {
  std::vector<std::string> lines;
  std::istringstream stream(words);
  for (std::string line; std::getline(stream, line);) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    if (lines.empty() || lines.back() != line) lines.push_back(line);
  }
  std::string text;
  for (std::size_t i = lines.size() - std::min<std::size_t>(lines.size(), 3); i < lines.size();
       ++i) {
    text += (text.empty() ? "" : "\n") + lines[i];
  }
  return text;
}

/// Whether a child still gets anywhere. Time in which this process did not run either (the machine
/// was asleep, or too busy) is not the child's: a tick counts for no more than it should have been.
class Stall {
 public:
  /// Returns how long nothing has changed.
  milliseconds look(const Board& board, std::size_t threads) {
    std::uint64_t progress = static_cast<std::uint64_t>(board.state.load());
    for (std::size_t i = 0; i < threads; ++i) {
      progress += board.threads[i].begun.load() + board.threads[i].checked.load();
    }
    const std::pair now{board.stage.load(), progress};
    const Clock::time_point time = Clock::now();
    idle_ += std::min(std::chrono::duration_cast<milliseconds>(time - seen_), 2 * kTick);
    seen_ = time;
    if (now != last_) idle_ = milliseconds{0};
    last_ = now;
    return idle_;
  }

 private:
  std::pair<std::uint32_t, std::uint64_t> last_{0, 0};
  Clock::time_point seen_ = Clock::now();
  milliseconds idle_{0};
};

class Watch {
 public:
  Watch(const ChildRunnerOptions& options, const std::vector<Stage>& stages, ChildProcess& child)
      : options_(options), stages_(stages), child_(child) {}

  TrialResult until_end() {
    const Clock::time_point begin = Clock::now();
    const std::optional<int> status = wait();
    TrialResult result = remains();
    result.elapsed = Clock::now() - begin;
    judge(status, result);
    return result;
  }

 private:
  [[nodiscard]] std::size_t stage_index() const {
    return std::min<std::size_t>(child_.board().stage.load(), stages_.size() - 1);
  }
  [[nodiscard]] std::size_t threads() const {
    return stages_.empty() ? 0 : threads_of(stages_[stage_index()]);
  }

  /// Nothing: it hung, and was killed.
  std::optional<int> wait() {
    const Board& board = child_.board();
    Stall stall;
    while (true) {
      const std::optional<int> status = child_.listen(kTick);
      if (options_.stop != nullptr && options_.stop->load()) throw ProbeInterrupted();
      if (status) return status;
      const TrialState state = board.state.load();
      const bool running = state == TrialState::kRunning;
      const milliseconds patience =
          running ? std::min(milliseconds(board.hang_after_ms), options_.start_within)
                  : options_.start_within;
      if (stall.look(board, threads()) > patience) {
        child_.kill();
        if (state == TrialState::kStarting) {
          throw ProbeError("the device was not initialised within " +
                           std::to_string(patience.count()) + " ms: " + last_lines(child_.words()));
        }
        return std::nullopt;
      }
      if (running && options_.on_progress) report();
    }
  }

  void report() {
    const std::size_t at = stage_index();
    options_.on_progress(stages_[at], child_.board().stages[at].operations.load());
  }

  TrialResult remains() const {
    const Board& board = child_.board();
    TrialResult result;
    result.provenance = {.backend = board.provenance[0].str(),
                         .libtorch = board.provenance[1].str(),
                         .device = board.provenance[2].str(),
                         .driver = board.provenance[3].str(),
                         .os = board.provenance[4].str()};
    for (const OpClass op_class : policies::kAllOpClasses) {
      if ((board.classes & (1U << index_of(op_class))) == 0) continue;
      result.classes.push_back(op_class);
      if ((board.called & (1U << index_of(op_class))) != 0) result.called.push_back(op_class);
      result.operations[index_of(op_class)] = board.operations[index_of(op_class)].str();
    }
    result.max_streams = std::min<std::size_t>(board.max_streams, kMaxThreads);
    const std::size_t begun = stages_.empty() ? 0 : stage_index() + 1;
    for (std::size_t i = 0; i < begun; ++i) {
      result.stages.push_back({board.stages[i].operations.load(),
                               std::chrono::nanoseconds(
                                   static_cast<std::int64_t>(board.stages[i].nanoseconds.load()))});
    }
    return result;
  }

  void judge(std::optional<int> status, TrialResult& result) const {
    const Board& board = child_.board();
    switch (board.state.load()) {
      case TrialState::kFinished:
        return;
      case TrialState::kCorrupt:
        return fail("corrupt", result);
      case TrialState::kCannotRun:
        throw ProbeError("a trial cannot run: " + board.message.str());
      default:
        break;
    }
    if (!status) return fail("hang", result);
    if (WIFSIGNALED(*status) && from_outside(WTERMSIG(*status))) {
      throw ProbeError("the child process of a trial was ended by " + name_of(WTERMSIG(*status)) +
                       " from outside" +
                       (WTERMSIG(*status) == SIGKILL ? ", perhaps for lack of memory" : ""));
    }
    const std::string how = WIFSIGNALED(*status) ? name_of(WTERMSIG(*status))
                                                 : "exit " + std::to_string(WEXITSTATUS(*status));
    if (board.state.load() == TrialState::kStarting || stages_.empty()) {
      throw ProbeError("the device cannot be initialised (" + how +
                       "): " + last_lines(child_.words()));
    }
    fail(how, result);
  }

  void fail(const std::string& name, TrialResult& result) const {
    const Board& board = child_.board();
    Failure failure{.name = name, .stage = stage_index()};
    failure.parties = stages_[failure.stage].parties;
    failure.text = last_lines(child_.words());
    failure.thread = struck(name);
    std::size_t before = 0;
    failure.op_class = failure.parties[0].op_class;
    for (const Party& party : failure.parties) {
      if (failure.thread > before) failure.op_class = party.op_class;
      before += party.width;
    }
    failure.operation = board.operations[index_of(failure.op_class)].str();
    for (std::size_t i = 0; i < threads(); ++i) {
      if (failure.thread != 0 && failure.thread != i + 1) continue;
      failure.iteration = std::max(failure.iteration, board.threads[i].begun.load());
    }
    result.failure = std::move(failure);
  }

  /// From 1; 0 when nobody knows.
  [[nodiscard]] std::size_t struck(const std::string& name) const {
    const Board& board = child_.board();
    if (name != "hang") return std::min<std::size_t>(board.struck.load(), threads());
    // The others wait for it at the barrier, with nothing left to check.
    for (std::size_t i = 0; i < threads(); ++i) {
      if (board.threads[i].begun.load() != board.threads[i].checked.load()) return i + 1;
    }
    return 0;
  }

  const ChildRunnerOptions& options_;
  const std::vector<Stage>& stages_;
  ChildProcess& child_;
};

}  // namespace

ChildRunner::ChildRunner(ChildRunnerOptions options) : options_(std::move(options)) {
  if (options_.program.empty()) options_.program = this_program();
}

TrialResult ChildRunner::run(const std::vector<Stage>& stages) {
  if (stages.size() > kMaxStages) throw std::invalid_argument("too many stages for one trial");
  if (options_.stop != nullptr && options_.stop->load()) throw ProbeInterrupted();
  std::vector<std::string> arguments = options_.arguments;
  for (const Stage& stage : stages) {
    arguments.insert(arguments.end(), {"--stage", to_string(stage)});
  }
  arguments.insert(arguments.end(), {"--board-fd", std::to_string(kBoardInChild), "--life-fd",
                                     std::to_string(kLifeInChild)});
  ChildProcess child(options_.program, arguments);
  return Watch(options_, stages, child).until_end();
}

std::optional<CompanyResult> ChildRunner::run_in_company(const Stage& first, const Stage& others,
                                                         std::size_t count, milliseconds window) {
  return internal::in_company({.program = options_.program,
                               .arguments = options_.arguments,
                               .stop = options_.stop,
                               .start_within = options_.start_within},
                              first, others, count, window);
}

}  // namespace streamgate::executor::probe
