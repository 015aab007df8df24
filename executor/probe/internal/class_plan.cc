// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/internal/class_plan.h>

#include <streamgate/executor/probe/statistics.h>

#include <algorithm>

namespace streamgate::executor::probe {
namespace {

using std::chrono::milliseconds;

/// Fresh processes at the ceiling: what fails at a process's first uses does so once in each.
constexpr std::size_t kRequiredProcesses = 2;
/// Windows of throughput at each width, so many in a process: what disturbs one is seldom there for
/// all, in processes some time apart.
constexpr std::size_t kWindowsInProcess = 2;
constexpr std::size_t kWantedWindows = 4;
/// Where operations are slow, more processes than that are not worth their start.
constexpr std::size_t kMostProcesses = 8;

/// In a climb each width gets enough for this bound; the ceiling then gets kWantedUpper.
constexpr double kClimbUpper = 0.001;

milliseconds part(milliseconds whole, std::size_t parts, milliseconds least) {
  return std::clamp(whole / static_cast<int>(parts), least, kMaxStageTime);
}

}  // namespace

ClassPlan::ClassPlan(policies::OpClass op_class, std::size_t max_threads, double confidence)
    : op_class_(op_class),
      confidence_(confidence),
      required_(trials_for(kRequiredUpper, confidence)),
      climb_(trials_for(kClimbUpper, confidence)),
      wanted_(trials_for(kWantedUpper, confidence)),
      widths_(max_threads + 1) {}

std::size_t ClassPlan::boundary() const noexcept {
  for (std::size_t width = 1; width < widths_.size(); ++width) {
    if (widths_[width].failures != 0) return width;
  }
  return widths_.size();
}

bool ClassPlan::may_be_claimed(std::size_t width) const noexcept {
  return widths_[width].failures == 0 && widths_[width].operations >= required_;
}

Stage ClassPlan::hammer(std::size_t width, std::uint64_t operations, milliseconds at_most) const {
  return {.parties = {{op_class_, width}}, .operations = operations, .at_most = at_most};
}

std::vector<Stage> ClassPlan::fresh(std::size_t width, milliseconds at_most) const {
  // Cold: the very first operations of process, threads and streams, then new threads and streams
  // in a process that has seen some. Warm: long, since some faults strike only after thousands.
  Stage first = hammer(width, 16 * width, part(at_most, 4, milliseconds{20}));
  first.batch = 1;
  Stage again = hammer(width, 64 * width, part(at_most, 4, milliseconds{20}));
  Stage longest = hammer(width, wanted_, at_most);
  longest.warm_up = 4;
  return {first, again, longest};
}

void ClassPlan::add_windows(std::vector<Stage>& stages, std::size_t up_to,
                            milliseconds left) const {
  const milliseconds window =
      std::clamp(left / static_cast<int>(20 * up_to), milliseconds{20}, milliseconds{100});
  for (std::size_t repetition = 0; repetition < kWindowsInProcess; ++repetition) {
    for (std::size_t width = 1; width <= up_to; ++width) {
      stages.push_back({.parties = {{op_class_, width}}, .mode = Mode::kPace, .at_most = window});
    }
  }
}

std::vector<Stage> ClassPlan::next(std::chrono::nanoseconds left_exactly) const {
  const auto left = std::chrono::duration_cast<milliseconds>(left_exactly);
  const std::size_t top = boundary() - 1;
  if (left.count() <= 0 || top == 0) return {};
  const bool untried = std::all_of(widths_.begin(), widths_.end(), [](const Width& width) {
    return width.operations == 0 && width.failures == 0;
  });
  if (untried) return fresh(top, part(left, 8, milliseconds{100}));

  std::vector<Stage> climb;
  for (std::size_t width = 1; width <= top; ++width) {
    if (widths_[width].hammered && may_be_claimed(width)) continue;
    climb.push_back(hammer(width, climb_, part(left, 4 * top, milliseconds{40})));
  }
  if (!climb.empty()) return climb;

  const Width& ceiling = widths_[top];
  const bool windows_missing = ceiling.windows < kWantedWindows;
  if (windows_missing || ceiling.processes < kRequiredProcesses ||
      (ceiling.operations < wanted_ && ceiling.processes < kMostProcesses)) {
    std::vector<Stage> stages = fresh(top, part(left, 6, milliseconds{100}));
    if (windows_missing) add_windows(stages, top, left);
    return stages;
  }
  return {};
}

void ClassPlan::learn(const std::vector<Stage>& stages, const TrialResult& result) {
  for (std::size_t i = 0; i < result.stages.size() && i < stages.size(); ++i) {
    const bool failed = result.failure && result.failure->stage == i;
    const StageResult& figures = result.stages[i];
    Width& width = widths_[stages[i].parties[0].width];
    width.operations += figures.operations;
    if (failed) {
      width.failures += 1;
      if (width.failure.empty()) width.failure = result.failure->name;
      evidence_.push_back(*result.failure);
      return;
    }
    if (i == 0) width.processes += 1;
    if (stages[i].mode == Mode::kHammer) {
      width.hammered = true;
    } else if (figures.elapsed.count() > 0) {
      width.windows += 1;
      const double seconds = std::chrono::duration<double>(figures.elapsed).count();
      width.per_second =
          std::max(width.per_second, static_cast<double>(figures.operations) / seconds);
    }
  }
}

ClassReport ClassPlan::report() const {
  ClassReport report;
  const std::size_t first_failure = boundary();
  std::size_t claimed = 0;
  while (claimed + 1 < widths_.size() && may_be_claimed(claimed + 1)) ++claimed;
  policies::ClassLimits& limits = report.limits;
  limits.op_class = op_class_;
  limits.ceiling = std::max<std::size_t>(1, claimed);
  const Width& ceiling = widths_[limits.ceiling];
  limits.failures = ceiling.failures;
  limits.trials = ceiling.operations + ceiling.failures;
  limits.failure_probability_upper =
      failure_probability_upper(limits.trials, limits.failures, confidence_);
  if (first_failure < widths_.size()) {
    limits.first_failure = first_failure;
    limits.failure = widths_[first_failure].failure;
  }
  for (std::size_t width = 1; width <= claimed; ++width) {
    if (widths_[width].per_second == 0) continue;
    limits.throughput.push_back({width, widths_[width].per_second});
  }
  limits.knee = knee_of(limits.throughput);
  // A class that fails even alone is known as well as it can be.
  report.measured = first_failure == 1 ||
                    (claimed + 1 == first_failure && ceiling.processes >= kRequiredProcesses &&
                     limits.throughput.size() == claimed);
  report.evidence = evidence_;
  for (std::size_t width = 1; width < widths_.size(); ++width) {
    const Width& tried = widths_[width];
    if (tried.operations == 0 && tried.failures == 0) continue;
    report.widths.push_back({width, tried.operations, tried.failures, tried.processes});
  }
  return report;
}

}  // namespace streamgate::executor::probe
