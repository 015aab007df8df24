// SPDX-License-Identifier: Apache-2.0
//
// A device that exists in figures only: trials on it take no time, so that a probe can be repeated
// a thousand times. It fails as a fault model says, and it is not the emulator, which really dies.
#pragma once

#include <streamgate/executor/probe/probe.h>
#include <streamgate/policies/op_class.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace streamgate::executor::probe {

/// Confined to its test.
class SimulatedDevice final : public TrialRunner {
 public:
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  struct Class {
    /// Whether so many threads are safe.
    std::function<bool(std::size_t)> safe = [](std::size_t) { return true; };
    double probability = 1;         ///< Of each operation at an unsafe width.
    std::uint64_t after = 0;        ///< Operations in the process before that.
    std::uint64_t before = kNever;  ///< Operations in the process from which on it is safe again.
    std::string failure = "SIGSEGV";
    /// Operations a second, of all threads together, at a width.
    std::function<double(std::size_t)> per_second = [](std::size_t width) {
      return 20'000.0 * static_cast<double>(width);
    };
  };

  std::array<Class, policies::kOpClasses> classes{};
  std::vector<policies::OpClass> has = {policies::OpClass::kRaw, policies::OpClass::kKernel,
                                        policies::OpClass::kGraph};
  std::set<std::pair<policies::OpClass, policies::OpClass>> incompatible;  ///< In either order.
  std::size_t max_streams = 32;
  std::chrono::milliseconds start{600};
  std::chrono::milliseconds death{100};
  policies::Provenance provenance{.backend = "simulated", .device = "simulated"};
  std::mt19937_64 random{1};
  /// What each of all processes does, when others run beside the first, in times of what it does
  /// alone.
  double share_in_company = 1;
  std::string company_fails{};  ///< With this, unless it is empty.
  std::vector<policies::OpClass> called = {policies::OpClass::kRaw, policies::OpClass::kKernel,
                                           policies::OpClass::kGraph};

  // Kept account of.
  std::vector<std::pair<Stage, std::size_t>> companies;  ///< The first's stage, how many others.
  std::vector<std::vector<Stage>> trials;
  std::chrono::nanoseconds longest{0};

  Class& of(policies::OpClass op_class) { return classes[policies::index_of(op_class)]; }
  void fails_beyond(policies::OpClass op_class, std::size_t width) {
    of(op_class).safe = [width](std::size_t threads) { return threads <= width; };
  }

  TrialResult run(const std::vector<Stage>& stages) override {
    trials.push_back(stages);
    TrialResult result{
        .provenance = provenance, .classes = has, .called = called, .max_streams = max_streams};
    result.elapsed = start;
    std::uint64_t in_process = 0;
    for (std::size_t i = 0; i < stages.size() && !result.failure; ++i) {
      run_stage(stages[i], i, in_process, result);
    }
    longest = std::max(longest, result.elapsed);
    return result;
  }

  std::optional<CompanyResult> run_in_company(const Stage& first, const Stage& others,
                                              std::size_t count,
                                              std::chrono::milliseconds window) override {
    companies.emplace_back(first, count);
    const auto per_second = [&](const Stage& stage) {
      return of(stage.parties[0].op_class).per_second(stage.parties[0].width);
    };
    const double alone = per_second(first);
    return CompanyResult{
        .alone = alone,
        .together = share_in_company * (alone + static_cast<double>(count) * per_second(others)),
        .failure = company_fails,
        .elapsed = start + 4 * window};
  }

 private:
  /// The first of the stage's operations that fails.
  std::uint64_t strike(const Stage& stage, std::uint64_t in_process) {
    std::uint64_t first = kNever;
    for (const Party& party : stage.parties) {
      const Class& figures = of(party.op_class);
      if (figures.safe(party.width)) continue;
      std::uint64_t at = figures.after > in_process ? figures.after - in_process : 0;
      if (figures.probability < 1) {
        at += std::geometric_distribution<std::uint64_t>(figures.probability)(random);
      }
      if (in_process + at < figures.before) first = std::min(first, at);
    }
    if (stage.parties.size() == 2) {
      const policies::OpClass a = stage.parties[0].op_class;
      const policies::OpClass b = stage.parties[1].op_class;
      if (incompatible.contains({a, b}) || incompatible.contains({b, a})) first = 0;
    }
    return first;
  }

  void run_stage(const Stage& stage, std::size_t index, std::uint64_t& in_process,
                 TrialResult& result) {
    double per_second = 0;
    for (const Party& party : stage.parties) {
      per_second += of(party.op_class).per_second(party.width);
    }
    const double seconds = std::chrono::duration<double>(stage.at_most).count();
    auto operations = static_cast<std::uint64_t>(std::ceil(seconds * per_second));
    if (stage.operations != 0) operations = std::min(operations, stage.operations);
    const std::uint64_t first = strike(stage, in_process);
    const bool fails = first < operations;
    if (fails) operations = first;
    in_process += operations;
    const std::chrono::nanoseconds took(
        static_cast<std::int64_t>(1e9 * static_cast<double>(operations) / per_second));
    result.stages.push_back({operations, took});
    result.elapsed += took;
    if (!fails) return;
    result.elapsed += death;
    const policies::OpClass op_class = stage.parties[0].op_class;
    result.failure = Failure{.name = of(op_class).failure,
                             .stage = index,
                             .parties = stage.parties,
                             .thread = 1,
                             .op_class = op_class,
                             .operation = "simulated",
                             .iteration = first + 1};
  }
};

/// Wants to know nothing.
class NoObserver final : public ProbeObserver {
 public:
  void on_trial(const std::vector<Stage>&, std::chrono::nanoseconds) override {}
  void on_failure(const Failure&) override {}
};

}  // namespace streamgate::executor::probe
