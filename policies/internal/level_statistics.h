// SPDX-License-Identifier: Apache-2.0
//
// What a policy has measured at each limit: completions per second while the limit was what bounded
// the load, and how much that scatters. Arithmetic only; what follows from it the policy decides.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace streamgate::policies::internal {

inline constexpr double kDeviations = 1.64;  ///< Of a normal distribution: a one-sided 95 %.
inline constexpr double kLoss = 0.02;        ///< Throughput given up for a lower limit, at most.

/// Good completions, and the seconds in which the limit was reached.
struct Tally {
  double count = 0;
  double seconds = 0;

  void add(const Tally& other) noexcept {
    count += other.count;
    seconds += other.seconds;
  }
  /// Never 0, as it is divided by and taken the logarithm of: no completion counts as half a one.
  [[nodiscard]] double rate() const noexcept {
    return std::max(count, 0.5) / std::max(seconds, 1e-9);
  }
};

/// The logarithm of a ratio of two throughputs, with the ends of its interval.
struct Comparison {
  double value = 0;
  double low = 0;
  double high = 0;
};

/// The evidence on one limit.
struct Level {
  std::size_t limit = 0;     ///< 0: the place is free.
  std::uint64_t window = 0;  ///< When it last grew.
  Tally tally;
};

/// The evidence on the limits that were tried lately.
///
/// Externally synchronised. Owns nothing but itself. Never blocks. Nothing fails: with all places
/// taken, the evidence that is oldest goes.
///
///     levels.add(8, {.count = 64, .seconds = 0.8}, window, 512);
///     const Comparison gain = levels.compare(levels.find(8)->tally, levels.find(4)->tally, 1.64);
class LevelStatistics {
 public:
  static constexpr std::size_t kPlaces = 24;

  [[nodiscard]] const Level* find(std::size_t limit) const noexcept {
    for (const Level& level : levels_) {
      if (level.limit == limit) return &level;
    }
    return nullptr;
  }

  /// Every place, also the free ones.
  [[nodiscard]] const std::array<Level, kPlaces>& all() const noexcept { return levels_; }

  /// Adds evidence. What is there already is scaled down so that all of it counts for no more than
  /// `at_most` completions: old evidence fades.
  void add(std::size_t limit, const Tally& tally, std::uint64_t window, double at_most) noexcept {
    Level* place = nullptr;
    for (Level& level : levels_) {
      if (level.limit == limit) place = &level;
    }
    if (place == nullptr) {
      place = std::min_element(levels_.begin(), levels_.end(),
                               [](const Level& a, const Level& b) { return a.window < b.window; });
      *place = Level{.limit = limit, .window = 0, .tally = {}};
    }
    const double keep =
        std::clamp((at_most - tally.count) / std::max(place->tally.count, 1.0), 0.0, 1.0);
    place->tally.count *= keep;
    place->tally.seconds *= keep;
    place->tally.add(tally);
    place->window = window;
  }

  void clear() noexcept { levels_ = {}; }

  /// Forgets what was last added to before that window, the limit `but` excepted.
  void forget_before(std::uint64_t window, std::size_t but) noexcept {
    for (Level& level : levels_) {
      if (level.window < window && level.limit != but) level = {};
    }
  }

  /// The evidence with the highest throughput, of what has at least that many completions.
  [[nodiscard]] const Level* best(double at_least) const noexcept {
    const Level* best = nullptr;
    for (const Level& level : levels_) {
      if (level.limit == 0 || level.tally.count < at_least) continue;
      if (best == nullptr || level.tally.rate() > best->tally.rate()) best = &level;
    }
    return best;
  }

  /// Learns the scatter from `size` equally long blocks of one window at one limit.
  template <std::size_t N>
  void learn_scatter(const std::array<Tally, N>& blocks, std::size_t size) noexcept {
    Tally all;
    for (std::size_t i = 0; i < size; ++i) all.add(blocks[i]);
    if (size < 2 || all.count < 1 || all.seconds <= 0) return;
    const double each = all.seconds / all.count;
    double squares = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const double off = (blocks[i].seconds - each * blocks[i].count) / each;
      squares += off * off;
    }
    // The variance of a block's time is scatter * count * each^2. Fading, as a plant may change.
    const double freedom = static_cast<double>(size - 1);
    scatter_sum_ = scatter_sum_ * 0.93 + squares / (all.count / static_cast<double>(size));
    scatter_weight_ = scatter_weight_ * 0.93 + freedom;
  }

  /// Variance over mean of a completion count; 1 is a Poisson stream's, 0 a clock's.
  [[nodiscard]] double scatter() const noexcept {
    return std::max(scatter_sum_ / scatter_weight_, 0.003);
  }

  /// ln(a / b), with `deviations` standard errors on either side.
  [[nodiscard]] Comparison compare(const Tally& a, const Tally& b,
                                   double deviations) const noexcept {
    const double value = std::log(a.rate() / b.rate());
    const double error =
        std::sqrt(scatter() / std::max(a.count, 1.0) + scatter() / std::max(b.count, 1.0));
    return {value, value - deviations * error, value + deviations * error};
  }

 private:
  std::array<Level, kPlaces> levels_{};
  // A guess that counts for two: the first windows must not look surer than they are.
  double scatter_sum_ = 0.4;
  double scatter_weight_ = 2;
};

}  // namespace streamgate::policies::internal
