// SPDX-License-Identifier: Apache-2.0
//
// The simulation's random numbers: the same sequence for the same seed with every compiler and
// library, which the distributions of the standard library do not promise. Not for secrets.
#pragma once

#include <cmath>
#include <cstdint>

namespace streamgate::executor::simulation {

/// The generator SplitMix64 (Steele, Lea and Flood, 2014). Externally synchronised; nothing fails.
///
///     Random random(42);
///     const double wait = random.exponential();
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  [[nodiscard]] std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }
  /// In [0, 1).
  [[nodiscard]] double uniform() noexcept {
    return static_cast<double>(next() >> 11U) * 0x1p-53;
  }
  /// Exponential with mean 1.
  [[nodiscard]] double exponential() noexcept { return -std::log1p(-uniform()); }

 private:
  std::uint64_t state_;
};

}  // namespace streamgate::executor::simulation
