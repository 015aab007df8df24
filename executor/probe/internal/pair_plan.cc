// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/internal/pair_plan.h>

#include <streamgate/executor/probe/statistics.h>

#include <algorithm>
#include <utility>

namespace streamgate::executor::probe {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kWantedProcesses = 2;

milliseconds part(milliseconds whole, std::size_t parts) {
  return std::clamp(whole / static_cast<int>(parts), milliseconds{40}, kMaxStageTime);
}

}  // namespace

PairPlan::PairPlan(const std::vector<ClassReport>& classes, std::size_t max_streams,
                   double confidence)
    : required_(trials_for(kRequiredUpper, confidence)),
      wanted_(trials_for(kWantedUpper, confidence)) {
  for (std::size_t i = 0; i < classes.size(); ++i) {
    for (std::size_t j = i + 1; j < classes.size(); ++j) {
      const policies::ClassLimits* a = &classes[i].limits;
      const policies::ClassLimits* b = &classes[j].limits;
      if (a->failures != 0 || b->failures != 0 || max_streams < 2) continue;
      if (a->trials == 0 || b->trials == 0) continue;
      // By their words, as files and people have them.
      if (policies::to_string(b->op_class) < policies::to_string(a->op_class)) std::swap(a, b);
      Pair pair{.a = {a->op_class, a->ceiling}, .b = {b->op_class, b->ceiling}};
      while (pair.a.width + pair.b.width > max_streams) {
        --(pair.a.width > pair.b.width ? pair.a : pair.b).width;
      }
      pairs_.push_back(std::move(pair));
    }
  }
}

bool PairPlan::wants_more(const Pair& pair) const noexcept {
  return pair.evidence.empty() &&
         (pair.processes < kWantedProcesses || pair.operations < required_);
}

std::vector<Stage> PairPlan::next(std::chrono::nanoseconds left_exactly) const {
  const auto left = std::chrono::duration_cast<milliseconds>(left_exactly);
  if (left.count() <= 0) return {};
  std::vector<Stage> stages;
  const auto pending = static_cast<std::size_t>(
      std::count_if(pairs_.begin(), pairs_.end(), [this](const Pair& p) { return wants_more(p); }));
  for (const Pair& pair : pairs_) {
    if (!wants_more(pair)) continue;
    Stage cold{.parties = {pair.a, pair.b},
               .operations = 16 * (pair.a.width + pair.b.width),
               .at_most = part(left, 16 * pending),
               .batch = 1};
    Stage longest{.parties = cold.parties,
                  .operations = wanted_,
                  .at_most = part(left, 4 * pending),
                  .warm_up = 4};
    // Cold is only who comes first: every second process begins with another pair.
    stages.insert(pair.processes % 2 == 0 ? stages.end() : stages.begin(), {cold, longest});
  }
  if (!stages.empty()) return stages;
  for (const Pair& pair : pairs_) {
    if (pair.evidence.empty() || pair.narrowed || pair.a.width + pair.b.width == 2) continue;
    return {{.parties = {{pair.a.op_class, 1}, {pair.b.op_class, 1}},
             .operations = wanted_,
             .at_most = part(left, 8)}};
  }
  return {};
}

PairPlan::Pair* PairPlan::find(const Stage& stage) {
  for (Pair& pair : pairs_) {
    if (stage.parties[0].op_class == pair.a.op_class &&
        stage.parties[1].op_class == pair.b.op_class) {
      return &pair;
    }
  }
  return nullptr;
}

void PairPlan::learn(const std::vector<Stage>& stages, const TrialResult& result) {
  for (std::size_t i = 0; i < result.stages.size() && i < stages.size(); ++i) {
    Pair* pair = find(stages[i]);
    if (pair == nullptr) continue;
    pair->operations += result.stages[i].operations;
    const bool narrow = !pair->evidence.empty();
    if (narrow) pair->narrowed = true;
    if (result.failure && result.failure->stage == i) {
      pair->evidence.push_back(*result.failure);
      return;
    }
    if (stages[i].operations == wanted_ && !narrow) pair->processes += 1;
  }
}

std::vector<PairReport> PairPlan::report() const {
  std::vector<PairReport> reports;
  for (const Pair& pair : pairs_) {
    reports.push_back({.a = pair.a.op_class,
                       .b = pair.b.op_class,
                       .measured = !pair.evidence.empty() || pair.operations >= required_,
                       .operations = pair.operations,
                       .evidence = pair.evidence});
  }
  return reports;
}

}  // namespace streamgate::executor::probe
