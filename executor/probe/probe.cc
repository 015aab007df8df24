// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/probe.h>

#include <streamgate/executor/probe/internal/class_plan.h>
#include <streamgate/executor/probe/internal/pair_plan.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace streamgate::executor::probe {
namespace {

using policies::OpClass;
using std::chrono::nanoseconds;

/// A class needs about so many times the budget of a pair: it has many widths.
constexpr int kClassWeight = 5;
constexpr int kOverflowWeight = 2;

/// Of counting operations in and without company.
constexpr std::chrono::milliseconds kShortestWindow{100};
constexpr std::chrono::milliseconds kLongestWindow{400};

void check(const ProbeOptions& options) {
  if (options.max_threads < 1 || options.max_threads > kMaxWidth) {
    throw std::invalid_argument("max-threads is " + std::to_string(options.max_threads) +
                                "; allowed is 1 to " + std::to_string(kMaxWidth));
  }
  if (!(options.confidence > 0 && options.confidence < 1)) {
    throw std::invalid_argument("confidence is " + std::to_string(options.confidence) +
                                "; allowed is above 0 and below 1");
  }
  if (options.workers > kMaxWorkers) {
    throw std::invalid_argument("workers is " + std::to_string(options.workers) +
                                "; allowed is 0 to " + std::to_string(kMaxWorkers));
  }
  if (options.budget.count() <= 0) throw std::invalid_argument("the budget must be above 0 s");
}

class Probe {
 public:
  Probe(const ProbeOptions& options, TrialRunner& runner, ProbeObserver& observer)
      : options_(options), runner_(runner), observer_(observer) {}

  ProbeReport run() {
    const TrialResult device = try_out({});
    report_.limits.provenance = device.provenance;
    report_.confidence = options_.confidence;
    report_.max_threads = std::min(options_.max_threads, device.max_streams);
    if (report_.max_threads == 0 || device.classes.empty()) {
      throw ProbeError("the device has no streams, or no class that can be tried");
    }
    std::size_t units = device.classes.size() * kClassWeight +
                        device.classes.size() * (device.classes.size() - 1) / 2 + kOverflowWeight;
    std::vector<ClassPlan> plans;
    for (const OpClass op_class : device.classes) {
      plans.emplace_back(op_class, report_.max_threads, options_.confidence);
      advance(plans.back(), left() * kClassWeight / static_cast<int>(units));
      units -= kClassWeight;
    }
    for (std::size_t i = 0; i < plans.size(); ++i) {
      // Its share was not enough; what others left over may be. The pairs need some, too.
      if (!plans[i].report().measured) advance(plans[i], left() / 2);
      report_.classes.push_back(plans[i].report());
      report_.classes[i].operation = device.operations[policies::index_of(device.classes[i])];
    }
    measure_pairs(device.max_streams);
    if (options_.workers > 0 && left() > overflow_time()) measure_overflow(device.called);
    for (const ClassReport& measured : report_.classes) {
      report_.limits.classes.push_back(measured.limits);
    }
    return std::move(report_);
  }

 private:
  [[nodiscard]] nanoseconds left() const { return options_.budget - report_.elapsed; }

  TrialResult try_out(const std::vector<Stage>& stages) {
    observer_.on_trial(stages, report_.elapsed);
    TrialResult result = runner_.run(stages);
    report_.elapsed += result.elapsed;
    report_.processes += 1;
    if (!stages.empty() && result.provenance != report_.limits.provenance) {
      throw ProbeError("the device or its library changed while it was probed: " +
                       result.provenance.device + ", libtorch " + result.provenance.libtorch);
    }
    if (result.failure) observer_.on_failure(*result.failure);
    return result;
  }

  void advance(ClassPlan& plan, nanoseconds budget) {
    const nanoseconds end = report_.elapsed + budget;
    while (true) {
      const std::vector<Stage> stages = plan.next(end - report_.elapsed);
      if (stages.empty()) break;
      plan.learn(stages, try_out(stages));
    }
  }

  void measure_pairs(std::size_t max_streams) {
    PairPlan plan(report_.classes, max_streams, options_.confidence);
    while (true) {
      const std::vector<Stage> stages = plan.next(left() - overflow_time());
      if (stages.empty()) break;
      plan.learn(stages, try_out(stages));
    }
    report_.pairs = plan.report();
    for (const PairReport& pair : report_.pairs) {
      if (!pair.evidence.empty()) report_.limits.incompatible.emplace_back(pair.a, pair.b);
    }
  }

  /// What is kept of the budget for it, which may take as long again to start its processes.
  [[nodiscard]] nanoseconds overflow_time() const {
    return options_.workers == 0 ? nanoseconds{0} : nanoseconds{options_.budget} / 20;
  }

  /// Of the class that calls find full first: the one with the lowest ceiling, and of those the
  /// slowest. With the other classes there is less to gain, as there is more room here.
  [[nodiscard]] const policies::ClassLimits* class_in_need(
      const std::vector<OpClass>& called) const {
    const policies::ClassLimits* worst = nullptr;
    for (const ClassReport& measured : report_.classes) {
      const policies::ClassLimits& limits = measured.limits;
      if (!measured.measured || limits.failures != 0 || limits.throughput.empty()) continue;
      if (std::find(called.begin(), called.end(), limits.op_class) == called.end()) continue;
      const auto key = [](const policies::ClassLimits& of) {
        return std::pair(of.ceiling, of.throughput.front().per_second);
      };
      if (worst == nullptr || key(limits) < key(*worst)) worst = &limits;
    }
    return worst;
  }

  void measure_overflow(const std::vector<OpClass>& called) {
    const policies::ClassLimits* const limits = class_in_need(called);
    if (limits == nullptr) return;
    OverflowReport overflow{.op_class = limits->op_class,
                            .width = limits->knee.value_or(limits->ceiling),
                            .workers = options_.workers};
    const Stage here{.parties = {{overflow.op_class, overflow.width}}, .mode = Mode::kPace};
    // A worker runs one call at a time.
    const Stage worker{.parties = {{overflow.op_class, 1}}, .mode = Mode::kPace};
    const auto window =
        std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(overflow_time() / 6),
                   kShortestWindow, kLongestWindow);
    observer_.on_trial({here}, report_.elapsed);
    const auto measured = runner_.run_in_company(here, worker, overflow.workers, window);
    if (!measured) return;
    report_.elapsed += measured->elapsed;
    report_.processes += 1 + overflow.workers;
    overflow.alone = measured->alone;
    overflow.together = measured->together;
    overflow.failure = measured->failure;
    if (overflow.failure.empty()) {
      report_.limits.overflow = {.workers = overflow.workers,
                                 .gain = overflow.together / overflow.alone};
    }
    report_.overflow = std::move(overflow);
  }

  const ProbeOptions& options_;
  TrialRunner& runner_;
  ProbeObserver& observer_;
  ProbeReport report_;
};

}  // namespace

bool ProbeReport::measured() const noexcept {
  return std::all_of(classes.begin(), classes.end(), [](const auto& of) { return of.measured; }) &&
         std::all_of(pairs.begin(), pairs.end(), [](const auto& of) { return of.measured; });
}

ProbeReport probe(const ProbeOptions& options, TrialRunner& runner, ProbeObserver& observer) {
  check(options);
  return Probe(options, runner, observer).run();
}

}  // namespace streamgate::executor::probe
