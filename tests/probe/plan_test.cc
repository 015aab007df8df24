// SPDX-License-Identifier: Apache-2.0
//
// What the probe concludes, on devices in figures: a thousand probes in no time.
#include <streamgate/executor/probe/probe.h>
#include <streamgate/executor/probe/statistics.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include "simulated_device.h"

namespace streamgate::executor::probe {
namespace {

using policies::OpClass;
using namespace std::chrono_literals;

ProbeReport probed(SimulatedDevice& device, const ProbeOptions& options = {}) {
  NoObserver observer;
  return probe(options, device, observer);
}

const ClassReport& of(const ProbeReport& report, OpClass op_class) {
  for (const ClassReport& measured : report.classes) {
    if (measured.limits.op_class == op_class) return measured;
  }
  throw std::runtime_error("no such class");
}

TEST(Statistics, NoFailureBoundsTheProbabilityByThreeInN) {
  EXPECT_NEAR(failure_probability_upper(1000, 0, 0.95), 1 - std::pow(0.05, 1.0 / 1000), 1e-12);
  EXPECT_NEAR(failure_probability_upper(1000, 0, 0.95), 3.0 / 1000, 1e-5);
  EXPECT_DOUBLE_EQ(failure_probability_upper(0, 0, 0.95), 1);
}

TEST(Statistics, BoundWithFailuresIsThatOfClopperAndPearson) {
  // From tables of the binomial distribution.
  EXPECT_NEAR(failure_probability_upper(10, 1, 0.95), 0.3942, 1e-4);
  EXPECT_NEAR(failure_probability_upper(20, 3, 0.95), 0.3437, 2e-4);
  EXPECT_DOUBLE_EQ(failure_probability_upper(1, 1, 0.95), 1);
}

TEST(Statistics, TrialsForABoundReachIt) {
  for (const double confidence : {0.5, 0.95, 0.999}) {
    for (const double upper : {0.1, 0.01, 0.0001}) {
      const std::uint64_t trials = trials_for(upper, confidence);
      EXPECT_LE(failure_probability_upper(trials, 0, confidence), upper * (1 + 1e-9));
      EXPECT_GT(failure_probability_upper(trials - 1, 0, confidence), upper * (1 - 1e-9));
    }
  }
}

TEST(Statistics, KneeIsTheSmallestWidthWithinFivePercentOfTheBest) {
  EXPECT_EQ(knee_of({{1, 100}, {2, 190}, {3, 200}, {4, 199}}), 2U);
  EXPECT_EQ(knee_of({{1, 100}, {2, 189}, {3, 200}}), 3U);
  EXPECT_EQ(knee_of({{1, 200}, {2, 100}}), 1U);
  EXPECT_EQ(knee_of({}), std::nullopt);
}

TEST(Stage, IsReadAsItIsWritten) {
  const Stage pair{.parties = {{OpClass::kGraph, 4}, {OpClass::kRaw, 2}},
                   .mode = Mode::kPace,
                   .operations = 17,
                   .at_most = 250ms,
                   .batch = 3,
                   .warm_up = 5};
  EXPECT_EQ(parse_stage(to_string(pair)), pair);
  EXPECT_EQ(parse_stage(to_string(Stage{.parties = {{OpClass::kKernel, 1}}})),
            (Stage{.parties = {{OpClass::kKernel, 1}}}));
}

TEST(Stage, MalformedOneIsRefused) {
  for (const char* text :
       {"", "graph", "graph:0/hammer", "graph:65/hammer", "graph:2", "graph:2/sing",
        "blue:2/hammer", "graph:2+graph:3/hammer", "raw:1+kernel:1+graph:1/hammer",
        "graph:2/hammer/batch=0", "graph:2/hammer/operations=-1", "graph:2/hammer/speed=9",
        "graph:2x/hammer", "graph:2/hammer/at-most-ms=99999999999999999999"}) {
    EXPECT_THROW(static_cast<void>(parse_stage(text)), std::invalid_argument) << text;
  }
}

TEST(Probe, CertainFaultIsRecoveredExactlyAtEveryWidth) {
  for (std::size_t max_threads = 1; max_threads <= 16; ++max_threads) {
    for (std::size_t safe = 1; safe <= max_threads; ++safe) {
      SimulatedDevice device;
      device.fails_beyond(OpClass::kKernel, safe);
      const ProbeReport report = probed(device, {.max_threads = max_threads});
      const ClassReport& kernel = of(report, OpClass::kKernel);
      EXPECT_TRUE(report.measured());
      EXPECT_EQ(kernel.limits.ceiling, safe) << max_threads;
      EXPECT_EQ(of(report, OpClass::kGraph).limits.ceiling, max_threads);
      EXPECT_EQ(kernel.limits.failures, 0U);
      if (safe == max_threads) {
        EXPECT_EQ(kernel.limits.first_failure, std::nullopt);
        EXPECT_EQ(kernel.limits.failure, "");
      } else {
        EXPECT_EQ(kernel.limits.first_failure, safe + 1);
        EXPECT_EQ(kernel.limits.failure, "SIGSEGV");
      }
    }
  }
}

TEST(Probe, TwoPercentFaultIsRecoveredInMoreThan19Of20) {
  int right = 0;
  constexpr int kRuns = 500;
  for (int seed = 0; seed < kRuns; ++seed) {
    SimulatedDevice device;
    device.random.seed(static_cast<std::uint64_t>(seed));
    const std::size_t safe = 1 + static_cast<std::size_t>(seed) % 7;
    device.fails_beyond(OpClass::kGraph, safe);
    device.of(OpClass::kGraph).probability = 0.02;
    right += of(probed(device), OpClass::kGraph).limits.ceiling == safe ? 1 : 0;
  }
  EXPECT_GE(right, kRuns * 99 / 100);
}

TEST(Probe, TwoPercentFaultIsRecoveredOnADeviceThatIsSlow) {
  // 300 operations a second a thread: a budget of 60 s is just enough for the required bound.
  int right = 0;
  constexpr int kRuns = 200;
  for (int seed = 0; seed < kRuns; ++seed) {
    SimulatedDevice device;
    device.random.seed(static_cast<std::uint64_t>(seed));
    for (SimulatedDevice::Class& figures : device.classes) {
      figures.per_second = [](std::size_t width) { return 300.0 * static_cast<double>(width); };
    }
    device.fails_beyond(OpClass::kGraph, 3);
    device.of(OpClass::kGraph).probability = 0.02;
    const ProbeReport report = probed(device);
    right += of(report, OpClass::kGraph).limits.ceiling == 3 && report.measured() ? 1 : 0;
  }
  EXPECT_GE(right, kRuns * 95 / 100);
}

TEST(Probe, FaultThatStrikesAfterThousandsOfOperationsIsFound) {
  for (const std::uint64_t after : {100U, 3'000U, 10'000U, 20'000U}) {
    SimulatedDevice device;
    device.fails_beyond(OpClass::kGraph, 3);
    device.of(OpClass::kGraph).after = after;
    EXPECT_EQ(of(probed(device), OpClass::kGraph).limits.ceiling, 3U) << after;
  }
}

TEST(Probe, FaultOfAColdProcessOnlyIsFound) {
  for (std::size_t safe = 1; safe < 8; ++safe) {
    SimulatedDevice device;
    device.fails_beyond(OpClass::kGraph, safe);
    device.of(OpClass::kGraph).before = 8;
    EXPECT_EQ(of(probed(device), OpClass::kGraph).limits.ceiling, safe);
  }
}

TEST(Probe, CeilingIsTriedColdAndWarm) {
  SimulatedDevice device;
  static_cast<void>(probed(device, {.max_threads = 4}));
  std::size_t cold = 0;
  std::size_t warm = 0;
  for (const auto& stages : device.trials) {
    if (stages.empty() || stages[0].parties != std::vector<Party>{{OpClass::kRaw, 4}}) continue;
    // Nothing of the process has run yet, and the threads meet in their very first operation.
    if (stages[0].warm_up == 0 && stages[0].batch == 1) ++cold;
    for (const Stage& stage : stages) {
      if (stage.warm_up != 0 && stage.operations >= 10'000) ++warm;
    }
  }
  EXPECT_GE(cold, 2U);
  EXPECT_GE(warm, 2U);
}

TEST(Probe, WidthThatFailsBetweenOthersThatDoNotIsTheBoundary) {
  SimulatedDevice device;
  device.of(OpClass::kGraph).safe = [](std::size_t width) { return width != 3; };
  const ClassReport graph = of(probed(device), OpClass::kGraph);
  EXPECT_EQ(graph.limits.ceiling, 2U);
  EXPECT_EQ(graph.limits.first_failure, 3U);
}

TEST(Probe, ClassThatFailsEvenAloneIsReportedWithItsFailures) {
  SimulatedDevice device;
  device.fails_beyond(OpClass::kGraph, 0);
  device.of(OpClass::kGraph).failure = "corrupt";
  const ProbeReport report = probed(device);
  const ClassReport graph = of(report, OpClass::kGraph);
  EXPECT_TRUE(graph.measured);
  EXPECT_EQ(graph.limits.ceiling, 1U);
  EXPECT_EQ(graph.limits.first_failure, 1U);
  EXPECT_GE(graph.limits.failures, 1U);
  EXPECT_GT(graph.limits.failure_probability_upper, 0.01);
  EXPECT_EQ(graph.limits.failure, "corrupt");
  EXPECT_TRUE(graph.limits.throughput.empty());
  // Beside others it would only fail again.
  for (const PairReport& pair : report.pairs) {
    EXPECT_FALSE(pair.a == OpClass::kGraph || pair.b == OpClass::kGraph);
  }
}

TEST(Probe, EveryWidthUpToTheCeilingWasTestedToTheRequiredBound) {
  SimulatedDevice device;
  device.fails_beyond(OpClass::kKernel, 5);
  const ProbeReport report = probed(device, {.confidence = 0.99});
  for (const ClassReport& measured : report.classes) {
    std::size_t tested = 0;
    for (const WidthReport& width : measured.widths) {
      if (width.width > measured.limits.ceiling) continue;
      ++tested;
      EXPECT_EQ(width.failures, 0U);
      EXPECT_LE(failure_probability_upper(width.operations, 0, 0.99), kRequiredUpper);
      EXPECT_GE(width.processes, width.width == measured.limits.ceiling ? 2U : 0U);
      const std::vector<Party> alone = {{measured.limits.op_class, width.width}};
      EXPECT_EQ(width.processes,
                static_cast<std::size_t>(std::count_if(device.trials.begin(), device.trials.end(),
                                                       [&](const std::vector<Stage>& stages) {
                                                         return !stages.empty() &&
                                                                stages[0].parties == alone;
                                                       })));
    }
    EXPECT_EQ(tested, measured.limits.ceiling);
    EXPECT_LE(measured.limits.failure_probability_upper, kWantedUpper);
    EXPECT_EQ(measured.limits.throughput.size(), measured.limits.ceiling);
  }
}

TEST(Probe, IncompatiblePairsAreFoundAndNoOthers) {
  for (const auto& [a, b] :
       {std::pair(OpClass::kRaw, OpClass::kKernel), std::pair(OpClass::kRaw, OpClass::kGraph),
        std::pair(OpClass::kKernel, OpClass::kGraph)}) {
    SimulatedDevice device;
    device.fails_beyond(OpClass::kKernel, 2);
    device.incompatible = {{a, b}};
    const ProbeReport report = probed(device);
    EXPECT_TRUE(report.measured());
    ASSERT_EQ(report.limits.incompatible.size(), 1U);
    const auto [first, second] = report.limits.incompatible[0];
    EXPECT_EQ(std::set({first, second}), std::set({a, b}));
    EXPECT_LT(to_string(first), to_string(second));
  }
  SimulatedDevice none;
  EXPECT_TRUE(probed(none).limits.incompatible.empty());
  SimulatedDevice all;
  all.incompatible = {{OpClass::kRaw, OpClass::kKernel},
                      {OpClass::kRaw, OpClass::kGraph},
                      {OpClass::kKernel, OpClass::kGraph}};
  EXPECT_EQ(probed(all).limits.incompatible.size(), 3U);
}

TEST(Probe, PairsAreTriedWithinTheirOwnCeilings) {
  SimulatedDevice device;
  device.fails_beyond(OpClass::kKernel, 2);
  device.fails_beyond(OpClass::kGraph, 3);
  static_cast<void>(probed(device));
  for (const auto& stages : device.trials) {
    for (const Stage& stage : stages) {
      if (stage.parties.size() != 2) continue;
      for (const Party& party : stage.parties) {
        EXPECT_TRUE(device.of(party.op_class).safe(party.width)) << to_string(stage);
      }
    }
  }
}

TEST(Probe, TakesNoMoreThanItsBudgetAndOneTrial) {
  for (const auto budget : {100ms, 1000ms, 5000ms, 60'000ms}) {
    SimulatedDevice device;
    device.death = 2000ms;  // As a hang does.
    device.fails_beyond(OpClass::kKernel, 2);
    device.fails_beyond(OpClass::kGraph, 3);
    const ProbeReport report = probed(device, {.budget = budget});
    EXPECT_LE(report.elapsed, budget + device.longest) << budget.count();
  }
}

TEST(Probe, TrialsOfEveryBudgetCanBeSaidOnACommandLine) {
  for (const auto budget : {std::chrono::milliseconds{1}, std::chrono::milliseconds{60'000},
                            std::chrono::milliseconds{604'800'000}}) {
    SimulatedDevice device;
    device.fails_beyond(OpClass::kKernel, 2);
    device.incompatible = {{OpClass::kKernel, OpClass::kGraph}};
    static_cast<void>(probed(device, {.budget = budget}));
    for (const auto& stages : device.trials) {
      for (const Stage& stage : stages) EXPECT_EQ(parse_stage(to_string(stage)), stage);
    }
  }
}

TEST(Probe, BudgetThatIsTooSmallClaimsNothingThatWasNotTested) {
  SimulatedDevice device;
  for (SimulatedDevice::Class& figures : device.classes) {
    figures.per_second = [](std::size_t) { return 10.0; };
  }
  const ProbeReport report = probed(device, {.budget = 3000ms});
  EXPECT_FALSE(report.measured());
  for (const ClassReport& measured : report.classes) {
    EXPECT_FALSE(measured.measured);
    EXPECT_EQ(measured.limits.ceiling, 1U);
    EXPECT_GT(measured.limits.failure_probability_upper, kRequiredUpper);
  }
}

TEST(Probe, ThreeClassesAreMeasuredWithinAMinuteAlsoWhenEachFailureIsAHang) {
  SimulatedDevice device;
  device.start = 1500ms;  // On a machine that is busy.
  device.death = 2000ms;
  for (const OpClass op_class : {OpClass::kRaw, OpClass::kKernel, OpClass::kGraph}) {
    device.fails_beyond(op_class, 3);
    device.of(op_class).failure = "hang";
  }
  const ProbeReport report = probed(device, {.budget = 60s});
  EXPECT_TRUE(report.measured());
  EXPECT_LE(report.elapsed, 60s);
}

TEST(Probe, ClassWhoseShareIsTooSmallGetsWhatOthersLeaveOver) {
  SimulatedDevice device;
  device.start = 1500ms;
  device.death = 4000ms;
  device.fails_beyond(OpClass::kRaw, 1);  // Two deaths at the start, then two processes more.
  for (SimulatedDevice::Class& figures : device.classes) {
    figures.per_second = [](std::size_t) { return 50'000.0; };
  }
  const ProbeReport report = probed(device, {.budget = 40s});
  EXPECT_TRUE(of(report, OpClass::kRaw).measured);
  EXPECT_EQ(of(report, OpClass::kRaw).limits.ceiling, 1U);
  EXPECT_TRUE(report.measured());
}

TEST(Probe, KneeComesFromTheThroughputOfTheSafeWidths) {
  SimulatedDevice device;
  device.of(OpClass::kRaw).per_second = [](std::size_t width) {
    return 10'000.0 * static_cast<double>(std::min<std::size_t>(width, 4));
  };
  device.fails_beyond(OpClass::kKernel, 3);
  const ProbeReport report = probed(device);
  EXPECT_EQ(of(report, OpClass::kRaw).limits.knee, 4U);
  EXPECT_EQ(of(report, OpClass::kKernel).limits.knee, 3U);
  EXPECT_NEAR(of(report, OpClass::kRaw).limits.throughput[3].per_second, 40'000, 4'000);
}

TEST(Probe, DeviceWithFewStreamsIsTriedNoWiderThanThose) {
  SimulatedDevice device;
  device.max_streams = 5;
  const ProbeReport report = probed(device);
  EXPECT_EQ(report.max_threads, 5U);
  EXPECT_EQ(of(report, OpClass::kRaw).limits.ceiling, 5U);
  for (const auto& stages : device.trials) {
    for (const Stage& stage : stages) EXPECT_LE(threads_of(stage), 5U) << to_string(stage);
  }
  EXPECT_EQ(report.pairs.size(), 3U);
}

TEST(Probe, DeviceThatChangesMeanwhileIsAnError) {
  class Changing final : public TrialRunner {
   public:
    TrialResult run(const std::vector<Stage>& stages) override {
      if (!stages.empty()) device.provenance.driver = "another";
      return device.run(stages);
    }
    SimulatedDevice device;
  } changing;
  NoObserver observer;
  EXPECT_THROW(static_cast<void>(probe({}, changing, observer)), ProbeError);
}

TEST(Probe, GainOfOverflowIsThatOfTheClassWithTheLeastRoom) {
  SimulatedDevice device;
  device.fails_beyond(OpClass::kKernel, 2);
  device.fails_beyond(OpClass::kGraph, 3);
  device.share_in_company = 0.9;
  const ProbeReport report = probed(device, {.workers = 4});
  ASSERT_TRUE(report.overflow);
  EXPECT_EQ(report.overflow->op_class, OpClass::kKernel);
  EXPECT_EQ(report.overflow->width, 2U);
  ASSERT_TRUE(report.limits.overflow);
  EXPECT_EQ(report.limits.overflow->workers, 4U);
  EXPECT_NEAR(report.limits.overflow->gain, 0.9 * (2 + 4) / 2, 1e-9);
  ASSERT_EQ(device.companies.size(), 1U);
  EXPECT_EQ(device.companies[0].first.mode, Mode::kPace);
  EXPECT_EQ(device.companies[0].second, 4U);
}

TEST(Probe, GainOfOverflowIsThatOfAClassThatCallsHave) {
  SimulatedDevice device;
  device.has = {OpClass::kRaw, OpClass::kGraph};
  device.called = {OpClass::kRaw};
  device.fails_beyond(OpClass::kGraph, 1);
  device.share_in_company = 0.1;
  const ProbeReport report = probed(device);
  ASSERT_TRUE(report.overflow);
  EXPECT_EQ(report.overflow->op_class, OpClass::kRaw);
  EXPECT_LT(report.limits.overflow->gain, 1) << "a loss is measured as well as a gain";
}

TEST(Probe, GainOfOverflowThatCannotBeMeasuredIsNotInvented) {
  SimulatedDevice device;
  device.company_fails = "a process ended with exit code 70";
  ProbeReport report = probed(device);
  EXPECT_FALSE(report.limits.overflow);
  ASSERT_TRUE(report.overflow);
  EXPECT_EQ(report.overflow->failure, device.company_fails);
  EXPECT_TRUE(report.measured()) << "the limits are";

  SimulatedDevice unwanted;
  EXPECT_FALSE(probed(unwanted, {.workers = 0}).overflow);
  SimulatedDevice deadly;
  for (const OpClass op_class : deadly.has) deadly.fails_beyond(op_class, 0);
  EXPECT_FALSE(probed(deadly).overflow) << "nothing survives that could be run";
  EXPECT_TRUE(unwanted.companies.empty() && deadly.companies.empty());
}

TEST(Probe, OptionsOutOfRangeAreRefused) {
  SimulatedDevice device;
  const auto refused = [&](const ProbeOptions& options) {
    EXPECT_THROW(static_cast<void>(probed(device, options)), std::invalid_argument);
  };
  refused({.max_threads = 0});
  refused({.max_threads = kMaxWidth + 1});
  for (const double confidence : {0.0, 1.0, 1.5, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    refused({.confidence = confidence});
  }
  refused({.budget = 0ms});
  refused({.workers = kMaxWorkers + 1});
  EXPECT_TRUE(device.trials.empty());
}

}  // namespace
}  // namespace streamgate::executor::probe
