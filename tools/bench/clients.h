// SPDX-License-Identifier: Apache-2.0
//
// Client threads that put one way of serving under a closed load: each asks again as soon as it has
// its answer. It knows nothing of libtorch or Streamgate.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <vector>

namespace streamgate::tools {

/// One way of serving; both are called on the clients' threads, `serve` by all at once.
struct Way {
  std::function<void()> prepare_thread;  ///< Once on each new thread, before any request.
  std::function<void()> serve;           ///< One request; returns with its answer.
};

/// Requests a second in each of `slices` parts of the time, one part after the other. Each thread's
/// first request is not counted: it pays for what libraries keep by thread, such as OpenMP's pool.
/// Blocks until all clients have ended; rethrows what one of them threw. REQUIRES: clients, slice
/// and slices are positive.
[[nodiscard]] std::vector<double> requests_per_second(const Way& way, std::size_t clients,
                                                      std::chrono::nanoseconds slice,
                                                      std::size_t slices);

}  // namespace streamgate::tools
