// SPDX-License-Identifier: Apache-2.0
//
// Runs each trial in a child process of its own, and tells from its remains how it ended. The
// parent never touches a device and outlives whatever the child dies of.
#pragma once

#include <streamgate/executor/probe/trial_runner.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace streamgate::executor::probe {

struct ChildRunnerOptions {
  /// The program that runs a trial, and its arguments before the stages: by the end of its command
  /// line it must call run_trial. The default program is the one that is running.
  std::string program{};
  std::vector<std::string> arguments{};
  /// Set by a signal's handler, perhaps: the child is killed, and run throws ProbeInterrupted.
  const std::atomic<bool>* stop = nullptr;
  /// How long a child may take until its device is initialised, and for its serial references.
  std::chrono::milliseconds start_within{60'000};
  /// Told a few times a second which stage runs, and how many of its operations are done.
  std::function<void(const Stage& stage, std::uint64_t operations)> on_progress{};
};

/// Externally synchronised. Ownership: of the child, which dies with it; the child also ends by
/// itself when this process is gone. Blocking: run, at most until the child is found to hang.
/// Failure: ProbeError when a child cannot be started or be run for lack of something.
///
///     ChildRunner runner({.arguments = {"probe-trial", "--backend", "cpu"}});
///     const TrialResult result = runner.run({{.parties = {{OpClass::kRaw, 8}}}});
///     if (result.failure) std::cout << result.failure->name << '\n';
class ChildRunner final : public TrialRunner {
 public:
  explicit ChildRunner(ChildRunnerOptions options);

  [[nodiscard]] TrialResult run(const std::vector<Stage>& stages) override;
  /// Told no progress.
  [[nodiscard]] std::optional<CompanyResult> run_in_company(
      const Stage& first, const Stage& others, std::size_t count,
      std::chrono::milliseconds window) override;

 private:
  ChildRunnerOptions options_;
};

}  // namespace streamgate::executor::probe
