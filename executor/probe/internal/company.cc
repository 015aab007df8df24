// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/internal/company.h>

#include <streamgate/executor/probe/internal/child_process.h>

#include <sys/wait.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace streamgate::executor::probe::internal {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kTick{10};

/// One process ended, or does not get ready.
struct Broken {
  std::string why;
};

class Company {
 public:
  Company(const CompanyOptions& options, const Stage& first, const Stage& others, std::size_t count)
      : options_(options) {
    start(first);
    for (std::size_t i = 0; i < count; ++i) start(others);
  }

  CompanyResult measure(milliseconds window) {
    const Clock::time_point begin = Clock::now();
    CompanyResult result;
    try {
      await([](const Board& board) { return board.state.load() == TrialState::kHeld; });
      children_.front()->release();
      await_operations(0, 1);
      const double before = per_second(window);
      for (std::size_t i = 1; i < children_.size(); ++i) children_[i]->release();
      await_operations(1, children_.size());
      result.together = per_second(2 * window);
      children_.resize(1);  // Kills the others.
      result.alone = (before + per_second(window)) / 2;
      if (result.alone <= 0) result.failure = "no operation ended within a window";
    } catch (const Broken& broken) {
      result.failure = broken.why;
    }
    result.elapsed = Clock::now() - begin;
    return result;
  }

 private:
  void start(Stage stage) {
    stage.at_most = kMaxStageTime;  // Until it is killed.
    std::vector<std::string> arguments = options_.arguments;
    arguments.insert(arguments.end(),
                     {"--stage", to_string(stage), "--board-fd", std::to_string(kBoardInChild),
                      "--life-fd", std::to_string(kLifeInChild), "--held"});
    children_.push_back(std::make_unique<ChildProcess>(options_.program, arguments));
  }

  /// Looks after all children for a tick.
  void look() {
    const milliseconds each = std::max(milliseconds{1}, kTick / static_cast<int>(children_.size()));
    for (const auto& child : children_) {
      const std::optional<int> status = child->listen(each);
      if (options_.stop != nullptr && options_.stop->load()) throw ProbeInterrupted();
      if (!status) continue;
      const std::string message = child->board().message.str();
      throw Broken{"a process ended with " +
                   (WIFSIGNALED(*status) ? "signal " + std::to_string(WTERMSIG(*status))
                                         : "exit code " + std::to_string(WEXITSTATUS(*status))) +
                   (message.empty() ? "" : ": " + message)};
    }
  }

  void await(const std::function<bool(const Board&)>& is_so, std::size_t from = 0,
             std::size_t to = SIZE_MAX) {
    const Clock::time_point guard = Clock::now() + options_.start_within;
    for (std::size_t i = from; i < std::min(to, children_.size()); ++i) {
      while (!is_so(children_[i]->board())) {
        look();
        if (Clock::now() > guard) throw Broken{"a process got nowhere"};
      }
    }
  }
  void await_operations(std::size_t from, std::size_t to) {
    await([](const Board& board) { return board.stages[0].operations.load() > 0; }, from, to);
  }

  double per_second(milliseconds window) {
    const auto count = [&] {
      std::uint64_t operations = 0;
      for (const auto& child : children_) operations += child->board().stages[0].operations.load();
      return operations;
    };
    // Its beginning is not counted: caches, and clocks that are still to speed up.
    for (const auto settled = Clock::now() + window / 4; Clock::now() < settled;) look();
    const std::uint64_t before = count();
    const Clock::time_point began = Clock::now();
    while (Clock::now() < began + window) look();
    const std::uint64_t operations = count() - before;
    return static_cast<double>(operations) /
           std::chrono::duration<double>(Clock::now() - began).count();
  }

  const CompanyOptions& options_;
  std::vector<std::unique_ptr<ChildProcess>> children_;  ///< The first one, and its company.
};

}  // namespace

CompanyResult in_company(const CompanyOptions& options, const Stage& first, const Stage& others,
                         std::size_t count, milliseconds window) {
  if (options.stop != nullptr && options.stop->load()) throw ProbeInterrupted();
  return Company(options, first, others, count).measure(window);
}

}  // namespace streamgate::executor::probe::internal
