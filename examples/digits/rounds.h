// SPDX-License-Identifier: Apache-2.0
//
// Measures several ways turn by turn, round after round, so that whatever else the machine does
// falls on all of them alike; and what can be said of the rounds: medians with their spread.
#pragma once

#include "load_generator.h"

#include <chrono>
#include <cstddef>
#include <functional>
#include <vector>

namespace digits {

struct Contender {
  Way way;
  LoadOptions load;
};

/// The measurements of one contender, in the order of the rounds.
struct Series {
  Contender contender;
  std::vector<Measurement> rounds;
};

struct Spread {
  double median = 0.0;
  double minimum = 0.0;
  double maximum = 0.0;
};

/// Called before each turn. Counts begin at 1.
using OnTurn = std::function<void(std::size_t round, const Contender& contender)>;

/// One series for each contender, in their order. Between two turns it waits until the threads of
/// the last have gone. Blocks all the while. REQUIRES: rounds and contenders are positive.
[[nodiscard]] std::vector<Series> take_turns(const std::vector<Contender>& contenders,
                                             std::size_t rounds, const OnTurn& on_turn);

/// Over the rounds. REQUIRES: there is one, here and below.
[[nodiscard]] Spread images_per_second(const Series& series);
[[nodiscard]] Spread requests_per_second(const Series& series);
/// Images per second of one as a multiple of the other's, each round by itself.
[[nodiscard]] Spread speedup(const Series& of, const Series& over);

/// The latency that this share of all requests did not exceed (nearest rank).
[[nodiscard]] std::chrono::nanoseconds latency_quantile(const Series& series, double share);
[[nodiscard]] std::size_t peak_threads(const Series& series);
/// The answer to each test digit, or kDisagreement.
[[nodiscard]] std::vector<std::int64_t> answers(const Series& series);

}  // namespace digits
