// SPDX-License-Identifier: Apache-2.0
//
// The hand sweep: what somebody would find who tried each number of threads with each number of
// intra-op threads, beside Streamgate, which was told neither.
#pragma once

#include "rounds.h"
#include "ways.h"

#include <nlohmann/json_fwd.hpp>

#include <iosfwd>
#include <vector>

namespace digits {

struct Sweep {
  std::vector<Series> by_hand;                ///< The load's clients are the threads.
  std::vector<std::size_t> intra_op_threads;  ///< Of each of by_hand.
  std::vector<Series> streamgate;             ///< By run, and by submit.
};

/// 1, 2, 4 and 8 threads times 1 and 2 intra-op threads, and Streamgate with the load as given, all
/// turn by turn. Blocks all the while.
[[nodiscard]] Sweep run_sweep(const ModelServer& server, const LoadOptions& load,
                              std::size_t rounds, const OnTurn& on_turn);

void print_sweep(std::ostream& out, const Sweep& sweep);
[[nodiscard]] nlohmann::ordered_json sweep_json(const Sweep& sweep);

}  // namespace digits
