// SPDX-License-Identifier: Apache-2.0
//
// What comes back from a trial, and the interface to whatever runs one: child processes for the
// probe, a simulated device for the tests of its plan.
#pragma once

#include <streamgate/executor/probe/stage.h>
#include <streamgate/policies/op_class.h>
#include <streamgate/policies/provenance.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace streamgate::executor::probe {

/// How a trial failed, and what is known of it.
struct Failure {
  std::string name{};            ///< "SIGSEGV", another signal's name, "hang" or "corrupt".
  std::size_t stage = 0;         ///< Index of the stage that it struck in.
  std::vector<Party> parties{};  ///< Of that stage.
  std::size_t thread = 0;        ///< Which of them it struck, from 1; 0 when that is not known.
  policies::OpClass op_class = policies::OpClass::kRaw;  ///< Of that thread; else of the first.
  std::string operation{};                               ///< What that class runs.
  std::uint64_t iteration = 0;                           ///< Of that thread in the stage, from 1.
  std::string text{};  ///< The last lines on standard error, if any.

  bool operator==(const Failure&) const = default;
};

struct StageResult {
  std::uint64_t operations = 0;  ///< With right results.
  std::chrono::nanoseconds elapsed{0};
};

struct TrialResult {
  policies::Provenance provenance{};
  std::vector<policies::OpClass> classes{};                    ///< That the backend has.
  std::vector<policies::OpClass> called{};                     ///< Of these, those that calls have.
  std::array<std::string, policies::kOpClasses> operations{};  ///< What each of those runs.
  std::size_t max_streams = 0;          ///< At most kMaxThreads: no stage has more.
  std::vector<StageResult> stages{};    ///< One for each that was begun.
  std::optional<Failure> failure{};     ///< In the last of those.
  std::chrono::nanoseconds elapsed{0};  ///< All of it, with the start of the process.
};

/// What a process did alone, and with others beside it.
struct CompanyResult {
  double alone = 0;       ///< Operations a second of the first process.
  double together = 0;    ///< Of all of them.
  std::string failure{};  ///< Why there are no such figures; empty: there are.
  std::chrono::nanoseconds elapsed{0};
};

/// The probe cannot go on, for a reason that is no failure of a class: no memory for a child, no
/// such device. what() says what to do.
class ProbeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Somebody asked the probe to stop.
class ProbeInterrupted : public ProbeError {
 public:
  ProbeInterrupted() : ProbeError("interrupted") {}
};

/// Runs trials, one at a time.
///
/// Externally synchronised. Blocking: run does, until the trial has ended or was ended. Failure:
/// that of the device is in the result; ProbeError for anything else.
class TrialRunner {
 public:
  virtual ~TrialRunner() = default;

  /// In a fresh process. Without stages it only looks at the device.
  [[nodiscard]] virtual TrialResult run(const std::vector<Stage>& stages) = 0;

  /// One process that runs the first stage, and so many that run the second, each with a device of
  /// its own, for windows of that time. Nothing where a runner cannot do that. REQUIRES: both
  /// stages are of Mode::kPace.
  [[nodiscard]] virtual std::optional<CompanyResult> run_in_company(const Stage&, const Stage&,
                                                                    std::size_t,
                                                                    std::chrono::milliseconds) {
    return std::nullopt;
  }
};

}  // namespace streamgate::executor::probe
