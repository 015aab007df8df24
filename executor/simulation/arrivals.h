// SPDX-License-Identifier: Apache-2.0
//
// When the requests of an open load come. The closed load has no times of its own.
#pragma once

#include <streamgate/executor/simulation/random.h>
#include <streamgate/executor/simulation/scenario.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>

namespace streamgate::executor::simulation {

/// Externally synchronised. Keeps a reference to the load.
///
///     Arrivals arrivals(load);
///     while (const auto at = arrivals.next(random)) submit(*at);
class Arrivals {
 public:
  explicit Arrivals(const Load& load) noexcept : load_(load) {}

  /// Seconds from the start of the run, ascending; nothing once the load has ended.
  [[nodiscard]] std::optional<double> next(Random& random) noexcept {
    if (load_.requests != 0 && given_ == load_.requests) return std::nullopt;
    // The next one comes when the rate, summed over time, has grown by one, or by Exp(1).
    double left = load_.arrival == Arrival::kPoisson ? random.exponential() : 1.0;
    for (; stage_ < load_.stages.size(); ++stage_, within_ = 0) {
      const LoadStage& stage = load_.stages[stage_];
      const double slope = (stage.rps_to - stage.rps_from) / stage.seconds;
      const double rate = stage.rps_from + slope * within_;
      const double rest = stage.seconds - within_;
      const double coming = rest * (rate + slope * rest / 2);
      if (left < coming) {
        // rate * t + slope * t^2 / 2 = left, in the form that survives a slope near 0.
        const double root = std::sqrt(std::max(0.0, rate * rate + 2 * slope * left));
        within_ = std::min(stage.seconds, within_ + 2 * left / (rate + root));
        ++given_;
        return start_ + within_;
      }
      left -= coming;
      start_ += stage.seconds;
    }
    return std::nullopt;
  }

 private:
  const Load& load_;
  std::size_t given_ = 0;
  std::size_t stage_ = 0;
  double start_ = 0;   ///< Of the stage.
  double within_ = 0;  ///< Since then.
};

}  // namespace streamgate::executor::simulation
