// SPDX-License-Identifier: Apache-2.0
//
// Executors on the MPS backend of the tier that this test program is built for, and what their
// tasks do.
#pragma once

#include <streamgate/executor.h>
#include <streamgate/executor/backends/mps.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "stand_ins/stand_in.h"

namespace streamgate::testing {

inline Config mps_config(std::size_t threads = 4) {
  Config config;
  config.executor.backend = "mps";
  config.executor.threads = threads;
  config.executor.intra_op_threads = 1;
  config.executor.allow_oversubscription = true;
  return config;
}

inline ExecutorOptions on_mps(const Config& config) {
  return {.config = config, .backend = executor::make_mps_backend(config)};
}

/// Whether this tier has more than one stream.
inline constexpr bool kHasPool = STREAMGATE_MPS_TIER >= 2;

/// The maths of the tasks here: exact, and different for each.
[[nodiscard]] inline std::uint64_t expected_result(std::uint64_t task) {
  return task * 2'654'435'761U + 1;
}

/// So many tasks from 16 threads, through run, of raw, kernel and graph class in turn; how many
/// results are wrong.
enum class Encode { kInTheQueue, kPastTheQueue };
[[nodiscard]] std::size_t wrong_results_of_mixed_tasks(Executor& executor, std::size_t tasks,
                                                       Encode how);

}  // namespace streamgate::testing
