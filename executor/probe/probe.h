// SPDX-License-Identifier: Apache-2.0
//
// The probe: measures, for one device, how many threads each op class survives, which classes
// survive each other, and where throughput stops growing. It decides what to try and what follows
// from it; trials are run by a TrialRunner, and the figures are used by others.
#pragma once

#include <streamgate/executor/probe/trial_runner.h>
#include <streamgate/policies/limits_file.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace streamgate::executor::probe {

struct ProbeOptions {
  std::size_t max_threads = 8;  ///< 1 to kMaxWidth.
  double confidence = 0.95;     ///< Above 0, below 1.
  std::chrono::milliseconds budget{60'000};
  std::size_t workers = 4;  ///< With which the gain of overflow is measured; 0: it is not.
};

inline constexpr std::size_t kMaxWorkers = 64;  ///< Of ProbeOptions.

/// What worker processes bring to the class that needs them most.
struct OverflowReport {
  policies::OpClass op_class = policies::OpClass::kRaw;
  std::size_t width = 0;  ///< Threads of the process that they are beside.
  std::size_t workers = 0;
  double alone = 0;       ///< Operations a second of that process.
  double together = 0;    ///< Of all processes.
  std::string failure{};  ///< Why it was not measured; empty: it was.
};

/// What was tried at one width of a class.
struct WidthReport {
  std::size_t width = 0;
  std::uint64_t operations = 0;  ///< With right results.
  std::uint64_t failures = 0;    ///< Each of which ended its process.
  std::size_t processes = 0;     ///< Fresh ones, in which this width was the first thing that ran.
};

struct ClassReport {
  policies::ClassLimits limits{};
  bool measured = false;  ///< As well as ProbeOptions asks for; else the ceiling is what is known.
  std::string operation{};
  std::vector<Failure> evidence{};  ///< Every failure, in the order they were found.
  std::vector<WidthReport> widths{};
};

struct PairReport {
  policies::OpClass a = policies::OpClass::kRaw;
  policies::OpClass b = policies::OpClass::kRaw;
  bool measured = false;
  std::uint64_t operations = 0;
  std::vector<Failure> evidence{};  ///< Empty: they are compatible. The narrowest is the last.
};

struct ProbeReport {
  policies::Limits limits{};  ///< What goes into the limits file, if `measured`.
  std::vector<ClassReport> classes{};
  std::vector<PairReport> pairs{};
  std::optional<OverflowReport> overflow{};  ///< Nothing: it was not tried.
  double confidence = 0.95;
  std::size_t max_threads = 0;  ///< Fewer than asked for where the device has fewer streams.
  std::size_t processes = 0;
  std::chrono::nanoseconds elapsed{0};

  /// Whether every class and every pair was measured. Overflow is not asked for: without its figure
  /// an executor finds it out by itself.
  [[nodiscard]] bool measured() const noexcept;
};

/// Told what is being tried, on the thread that probes.
class ProbeObserver {
 public:
  virtual ~ProbeObserver() = default;
  virtual void on_trial(const std::vector<Stage>& stages, std::chrono::nanoseconds elapsed) = 0;
  virtual void on_failure(const Failure& failure) = 0;
};

/// The upper bounds of the failure probability of one operation, at the asked confidence, that a
/// width must reach to be claimed, and that the probe tries to reach at the ceiling while the
/// budget lasts.
inline constexpr double kRequiredUpper = 0.01;
inline constexpr double kWantedUpper = 0.0001;

/// Measures every class of the device and every pair of them, within the budget, which it may
/// exceed by one trial. How: docs/probe.md. Throws ProbeError when it cannot, and
/// std::invalid_argument for options out of range.
///
///     ChildRunner runner({.arguments = {"probe-trial", "--backend", "cpu"}});
///     const ProbeReport report = probe({.max_threads = 4}, runner, observer);
///     if (report.measured()) policies::save_limits(report.limits, "limits.toml");
[[nodiscard]] ProbeReport probe(const ProbeOptions& options, TrialRunner& runner,
                                ProbeObserver& observer);

}  // namespace streamgate::executor::probe
