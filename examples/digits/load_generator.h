// SPDX-License-Identifier: Apache-2.0
//
// Puts one way of serving under load and measures it: clients on threads of their own, each asking
// again as soon as it has its answer. It knows nothing of libtorch or Streamgate.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace digits {

/// One way of serving. Both functions are called on the clients' threads, `answer` concurrently.
struct Way {
  std::string name;
  /// Called once on each new client thread, before any request.
  std::function<void()> prepare_thread;
  /// Classifies the test digits from `first` on, one answer each.
  std::function<void(std::size_t first, std::span<std::int64_t> answers)> answer;
};

struct LoadOptions {
  std::size_t clients = 8;
  std::size_t batch = 10;  ///< Digits in a request; the last one of a pass may have fewer.
  std::size_t digits = 0;  ///< In the test set.
  std::chrono::nanoseconds duration{0};
};

/// What no digit has as its answer: it was answered differently from one request to another.
inline constexpr std::int64_t kDisagreement = -1;

struct Measurement {
  std::chrono::nanoseconds duration{0};  ///< From the first request to the end of the last.
  std::size_t images = 0;
  std::size_t peak_threads = 0;                     ///< Of the whole process; 0: not known.
  std::vector<std::chrono::nanoseconds> latencies;  ///< Of each request.
  std::vector<std::int64_t> answers;                ///< For each test digit, or kDisagreement.
};

/// Runs the clients for options.duration, and longer where that is needed for each client to get
/// once through its share of the digits, so that every digit has been asked for. Each thread's
/// first request is not measured. Blocks until all client threads have ended; rethrows what one of
/// them threw. REQUIRES: all of options are positive.
[[nodiscard]] Measurement measure(const Way& way, const LoadOptions& options);

}  // namespace digits
