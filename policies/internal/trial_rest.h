// SPDX-License-Identifier: Apache-2.0
//
// How long `knee` leaves the limit alone when it has found nothing better. It knows no limits.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace streamgate::policies::internal {

/// A rest that grows with every round of trials that found nothing, and with what the trials cost,
/// so that looking again takes a small and bounded share of the throughput.
///
/// Externally synchronised. Owns nothing. Never blocks. Nothing fails.
///
///     rest.add_cost(std::chrono::milliseconds(20), 0.5);  // A trial that lost half for so long.
///     rest.begin(now);
///     if (rest.resting() && rest.over_after_window(now)) look_again();
class TrialRest {
 public:
  void add_cost(std::chrono::nanoseconds took, double share_lost) noexcept {
    const double lost =
        std::chrono::duration<double>(took).count() * std::clamp(share_lost, 0.0, 1.0);
    cost_seconds_ += lost * kCostShare;
  }
  void forget_cost() noexcept { cost_seconds_ = 0; }

  void begin(std::chrono::nanoseconds now) noexcept {
    resting_ = true;
    rested_ = 0;
    since_ = now;
    least_seconds_ = cost_seconds_;
    cost_seconds_ = 0;
    windows_ = std::min(windows_ * 2, kMostWindows);
  }
  /// The next rest is a short one; this one, if there is one, is over.
  void end() noexcept {
    resting_ = false;
    windows_ = kFewestWindows;
  }

  [[nodiscard]] bool resting() const noexcept { return resting_; }
  /// One more window has passed; whether that was enough. If so, the rest is over.
  [[nodiscard]] bool over_after_window(std::chrono::nanoseconds now) noexcept {
    ++rested_;
    const double seconds = std::chrono::duration<double>(now - since_).count();
    const bool over =
        (rested_ >= windows_ && seconds >= least_seconds_) || rested_ >= kCostliestWindows;
    if (over) resting_ = false;
    return over;
  }

 private:
  static constexpr double kCostShare = 30;  ///< Rest is this many times the time a trial lost.
  static constexpr std::size_t kFewestWindows = 2;
  static constexpr std::size_t kMostWindows = 8;  ///< Where trials cost little.
  static constexpr std::size_t kCostliestWindows = 40;

  bool resting_ = false;
  std::size_t windows_ = kFewestWindows;
  std::size_t rested_ = 0;
  std::chrono::nanoseconds since_{0};
  double least_seconds_ = 0;
  double cost_seconds_ = 0;
};

}  // namespace streamgate::policies::internal
