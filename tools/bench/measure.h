// SPDX-License-Identifier: Apache-2.0
//
// Measures a model at each width, adaptively, and without Streamgate: turn by turn, round after
// round, so that whatever else the machine does falls on all of them alike.
#pragma once

#include <streamgate/policies/config.h>

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "bench/model.h"
#include "bench/report.h"

namespace streamgate::tools {

struct BenchOptions {
  policies::Config config{};  ///< Of the adaptive run; the others take backend and streams from it.
  std::size_t rounds = 7;
  double seconds = 0.4;       ///< Of a turn.
  double settle_seconds = 5;  ///< From the cold start of the adaptive run to its first turn.
  std::size_t max_width = 16;
};

/// Called before each turn with what it is of. Counts begin at 1.
using OnTurn = std::function<void(std::size_t round, std::string_view way)>;

/// Blocks all the while. Throws what the model or an executor's constructor throws.
[[nodiscard]] BenchRun measure(const ScriptModel& model, const BenchOptions& options,
                               std::size_t clients, const OnTurn& on_turn);

/// The widths that are measured: 1 to 4, and from there on in steps of a third or so, up to `most`.
[[nodiscard]] std::vector<std::size_t> widths_up_to(std::size_t most);

}  // namespace streamgate::tools
