// SPDX-License-Identifier: Apache-2.0
//
// Sequential testing of one class: which widths to try next, given all that was seen, and what may
// be claimed in the end. Pure: it runs nothing and reads no clock.
#pragma once

#include <streamgate/executor/probe/probe.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace streamgate::executor::probe {

/// In the order of what is learnt for the time spent:
///
/// 1. The largest width, in a fresh process. When that survives, the rest is confirmation.
/// 2. A climb from width 1 upwards, below the smallest width known to fail, in one process, until
///    that dies. Unlike a bisection it needs one death, hence one start of a process, whatever the
///    boundary, and tests every width that is then claimed.
/// 3. The width below the boundary again and again in fresh processes, cold and then long, with the
///    throughput of every width up to it at the end.
///
/// A failure at any time moves the boundary down, and the same rules go on from there.
///
/// Externally synchronised. Ownership: of its records. Blocking: never. Failure: none.
class ClassPlan {
 public:
  ClassPlan(policies::OpClass op_class, std::size_t max_threads, double confidence);

  /// The next trial, which should end within `left`; nothing when all is known that is asked for.
  [[nodiscard]] std::vector<Stage> next(std::chrono::nanoseconds left) const;
  void learn(const std::vector<Stage>& stages, const TrialResult& result);

  [[nodiscard]] ClassReport report() const;

 private:
  struct Width {
    std::uint64_t operations = 0;
    std::uint64_t failures = 0;
    std::size_t processes = 0;
    bool hammered = false;
    std::size_t windows = 0;  ///< Of throughput.
    double per_second = 0;  ///< The best of all windows: others only ever take time away.
    std::string failure{};
  };

  /// The smallest width that failed; one past the last when none did.
  [[nodiscard]] std::size_t boundary() const noexcept;
  [[nodiscard]] bool may_be_claimed(std::size_t width) const noexcept;
  [[nodiscard]] std::vector<Stage> fresh(std::size_t width, std::chrono::milliseconds at_most) const;
  [[nodiscard]] Stage hammer(std::size_t width, std::uint64_t operations,
                             std::chrono::milliseconds at_most) const;
  void add_windows(std::vector<Stage>& stages, std::size_t up_to,
                   std::chrono::milliseconds left) const;

  policies::OpClass op_class_;
  double confidence_;
  std::uint64_t required_;
  std::uint64_t climb_;
  std::uint64_t wanted_;
  std::vector<Width> widths_;  ///< By width; the first is unused.
  std::vector<Failure> evidence_;
};

}  // namespace streamgate::executor::probe
