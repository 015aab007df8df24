// SPDX-License-Identifier: Apache-2.0
//
// Which limits `knee` tries around the one it stands at, and in which order. It knows nothing of
// what they bring.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace streamgate::policies::internal {

/// One limit a factor above the base and one as far below it. The factor grows where a trial has
/// succeeded, and shrinks where both have failed.
///
/// Externally synchronised. Owns nothing. Never blocks. Nothing fails.
///
///     TrialPattern pattern(64, TrialPattern::kLargestFactor);
///     if (const auto limit = pattern.next(4)) {  // 8.
///       helps(*limit) ? pattern.moved(TrialPattern::Way::kUp) : pattern.failed(*limit, 4);
///     }
class TrialPattern {
 public:
  enum class Way : std::uint8_t { kUp, kDown };
  static constexpr double kLargestFactor = 2.0;
  static constexpr double kNearFactor = 1.19;  ///< The fourth root of 2.

  // REQUIRES: top >= 1.
  TrialPattern(std::size_t top, double factor) noexcept : top_(top), factor_(factor) {}

  /// Nothing above that is tried.
  // REQUIRES: top >= 1.
  void set_top(std::size_t top) noexcept { top_ = top; }

  /// The limit so many times as large or small, and at least one further where there is one.
  [[nodiscard]] std::size_t step(std::size_t from, Way way, double factor) const noexcept {
    const auto start = static_cast<double>(from);
    if (way == Way::kDown) {
      const auto down = static_cast<std::size_t>(std::floor(start / factor + 1e-9));
      return std::max<std::size_t>(1, std::min(down, from - 1));
    }
    const auto up = static_cast<std::size_t>(std::ceil(start * factor - 1e-9));
    return std::max(from, std::min(std::max(up, from + 1), top_));
  }

  /// The next limit to try from this base; nothing when both ways have failed at this factor.
  [[nodiscard]] std::optional<std::size_t> next(std::size_t base) noexcept {
    while (tried(Way::kUp) == 0 || tried(Way::kDown) == 0) {
      if (tried(way_) == 0) {
        const std::size_t limit = step(base, way_, factor_);
        if (limit != base) return limit;
        tried(way_) = base;  // There is none this way.
      }
      turn();
    }
    return std::nullopt;
  }

  void failed(std::size_t limit, std::size_t base) noexcept {
    way_ = limit > base ? Way::kUp : Way::kDown;
    tried(way_) = limit;
    turn();
  }

  /// The limit that was tried is the base now. The next one lies the same way, and further: the one
  /// that was the base is known to be worse, or no better.
  void moved(Way way) noexcept {
    way_ = way;
    factor_ = std::min(kLargestFactor, factor_ * factor_);
    tried_ = {};
  }

  /// Makes the steps smaller; false when they are the smallest, or lead to no other limits.
  [[nodiscard]] bool refine(std::size_t base) noexcept {
    const double factor = std::sqrt(factor_);
    const bool other = step(base, Way::kUp, factor) != tried(Way::kUp) ||
                       step(base, Way::kDown, factor) != tried(Way::kDown);
    if (factor < kSmallestFactor || !other) return false;
    factor_ = factor;
    tried_ = {};
    return true;
  }

  /// Nothing is known to fail any more.
  void begin(Way first) noexcept {
    way_ = first;
    tried_ = {};
  }
  void begin_far(Way first) noexcept {
    begin(first);
    factor_ = kLargestFactor;
  }
  void begin_near(Way first) noexcept {
    begin(first);
    factor_ = kNearFactor;
  }

  /// The limits nearest to the base that have failed; the base where there is none that way.
  // REQUIRES: next returned nothing.
  [[nodiscard]] std::size_t lowest() const noexcept { return std::max<std::size_t>(1, tried_[1]); }
  [[nodiscard]] std::size_t highest() const noexcept { return tried_[0]; }

 private:
  static constexpr double kSmallestFactor = 1.05;

  [[nodiscard]] std::size_t& tried(Way way) noexcept {
    return tried_[static_cast<std::size_t>(way)];
  }
  void turn() noexcept { way_ = way_ == Way::kUp ? Way::kDown : Way::kUp; }

  std::size_t top_;
  double factor_;
  Way way_ = Way::kUp;
  std::array<std::size_t, 2> tried_{};  ///< By Way: failed at this factor; 0: open.
};

}  // namespace streamgate::policies::internal
