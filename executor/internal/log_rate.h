// SPDX-License-Identifier: Apache-2.0
//
// How often an event may be logged: a bucket of tokens for each. It has no clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

namespace streamgate::executor {

/// Externally synchronised. Owns one bucket for each event, of which there are as many as the code
/// has. Blocks nowhere. Fails for want of memory only.
///
///     if (const auto left_out = rate.take("worker_ended", now)) write(record, *left_out);
class LogRate {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr double kAtOnce = 10;
  static constexpr std::chrono::duration<double> kOneEach{1};

  /// A value where the event may be logged now: how many were not since the last one that was.
  [[nodiscard]] std::optional<std::uint64_t> take(std::string_view event, Time now) {
    Bucket& bucket = buckets_.try_emplace(event, Bucket{.filled = now}).first->second;
    bucket.tokens = std::min(kAtOnce, bucket.tokens + (now - bucket.filled) / kOneEach);
    bucket.filled = now;
    if (bucket.tokens < 1) {
      ++bucket.left_out;
      return std::nullopt;
    }
    bucket.tokens -= 1;
    return std::exchange(bucket.left_out, 0);
  }

 private:
  struct Bucket {
    Time filled;
    double tokens = kAtOnce;
    std::uint64_t left_out = 0;
  };
  std::map<std::string_view, Bucket> buckets_;
};

}  // namespace streamgate::executor
