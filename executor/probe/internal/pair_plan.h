// SPDX-License-Identifier: Apache-2.0
//
// Sequential testing of every pair of classes: whether one class within its ceiling survives beside
// the other within its own. Pure: it runs nothing and reads no clock.
#pragma once

#include <streamgate/executor/probe/probe.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace streamgate::executor::probe {

/// All pairs run in one process, one after the other, until one of them fails; the others then go
/// on in the next. A pair that fails is incompatible, and is tried once more with one thread of
/// each, for the evidence: the least that shows it.
///
/// Externally synchronised. Ownership: of its records. Blocking: never. Failure: none.
class PairPlan {
 public:
  /// A class that fails even alone is in no pair, nor is one that was not measured at all; and
  /// where there are not streams enough for both ceilings, the wider of the two gives way.
  PairPlan(const std::vector<ClassReport>& classes, std::size_t max_streams, double confidence);

  /// The next trial, which should end within `left`; nothing when all is known that is asked for.
  [[nodiscard]] std::vector<Stage> next(std::chrono::nanoseconds left) const;
  void learn(const std::vector<Stage>& stages, const TrialResult& result);

  [[nodiscard]] std::vector<PairReport> report() const;

 private:
  struct Pair {
    Party a;
    Party b;
    std::uint64_t operations = 0;
    std::size_t processes = 0;
    bool narrowed = false;  ///< One thread of each was tried.
    std::vector<Failure> evidence{};
  };

  [[nodiscard]] Pair* find(const Stage& stage);
  [[nodiscard]] bool wants_more(const Pair& pair) const noexcept;

  std::uint64_t required_;
  std::uint64_t wanted_;
  std::vector<Pair> pairs_;
};

}  // namespace streamgate::executor::probe
