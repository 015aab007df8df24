// SPDX-License-Identifier: Apache-2.0
//
// The completions at one limit, gathered until there are enough to judge by. What follows from them
// is the policy's business.
#pragma once

#include <streamgate/policies/internal/level_statistics.h>
#include <streamgate/policies/limit_policy.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace streamgate::policies::internal {

/// A window of completions in four blocks, whose scatter says how sure the window is.
///
/// Externally synchronised. Owns nothing but itself. Never blocks. Nothing fails.
///
///     window.start(limit, levels.scatter(), CompletionWindow::kCountAll);
///     const double seconds = window.advance(observation);
///     if (window.take(observation, limit, seconds, 0.3) == CompletionWindow::Ended::kWindow) {
///       judge(window.sum());
///     }
class CompletionWindow {
 public:
  static constexpr std::size_t kBlocks = 4;
  static constexpr std::size_t kSmallestBlock = 16;  ///< In completions.
  static constexpr std::size_t kLargestBlock = 256;  ///< Where the scatter is large.
  static constexpr std::size_t kCountAll = 0;

  enum class Ended : std::uint8_t {
    kNothing,
    kBadly,  ///< Too many have failed.
    kBlock,
    kWindow,   ///< With its last block.
    kUnfilled  ///< The limit was hardly ever reached: this says nothing of it.
  };

  /// Begins anew. The first `discard` completions do not count: they were admitted, or filled the
  /// pipe, under another limit.
  void start(std::size_t limit, double scatter, std::size_t discard) noexcept {
    const double wanted = kSmallestBlock * std::clamp(scatter / 0.1, 1.0, 16.0);
    const std::size_t least = std::min(static_cast<std::size_t>(wanted), kLargestBlock);
    // Whole rounds of the permits: tasks that started together end together, and a part of such a
    // round would be taken for a change of speed.
    block_size_ = limit * ((least + limit - 1) / limit);
    steps_ = seen_ = bad_ = blocks_done_ = most_in_flight_ = 0;
    service_seconds_ = wait_seconds_ = 0;
    block_ = {};
    if (discard != kCountAll) discard_ = discard;
  }

  /// The seconds since the completion before. To be told of every one.
  double advance(const Observation& o) noexcept {
    // A clock that jumps back, or a completion that was overtaken, is no time at all.
    const double seconds = std::chrono::duration<double>(std::max(o.now - now_, {})).count();
    now_ = std::max(now_, o.now);
    return seconds;
  }

  /// Takes a completion in. It ends badly with eight failures that are more than that share.
  Ended take(const Observation& o, std::size_t limit, double seconds, double too_bad) noexcept {
    const bool full = o.in_flight >= limit;
    const bool was_full = std::exchange(full_, full);
    if (discard_ > 0) {
      --discard_;
      return Ended::kNothing;
    }
    const double service = std::chrono::duration<double>(o.service).count();
    const double wait = std::chrono::duration<double>(o.wait).count();
    if (limit == 1) {
      // One permit is in use at every completion; what shows that it lay idle is a gap before the
      // task in which the task itself did not wait.
      const double gap = seconds - service;
      seconds -= std::max(0.0, gap - wait);
    }
    ++seen_;
    most_in_flight_ = std::max(most_in_flight_, o.in_flight);
    service_seconds_ += service;
    wait_seconds_ += wait;
    if (!o.good && ++bad_ >= 8 && share_of_bad() > too_bad) return Ended::kBadly;
    if (full && was_full) {
      block_.count += o.good ? 1 : 0;
      block_.seconds += seconds;
      if (++steps_ == block_size_) {
        blocks_[blocks_done_++] = std::exchange(block_, {});
        steps_ = 0;
        return blocks_done_ == kBlocks ? Ended::kWindow : Ended::kBlock;
      }
    }
    return seen_ >= 2 * kBlocks * block_size_ ? Ended::kUnfilled : Ended::kNothing;
  }

  /// Of the blocks that are complete.
  [[nodiscard]] Tally sum() const noexcept {
    Tally sum;
    for (std::size_t i = 0; i < blocks_done_; ++i) sum.add(blocks_[i]);
    return sum;
  }
  [[nodiscard]] const std::array<Tally, kBlocks>& blocks() const noexcept { return blocks_; }
  [[nodiscard]] std::size_t size() const noexcept { return kBlocks * block_size_; }
  [[nodiscard]] std::size_t bad() const noexcept { return bad_; }
  [[nodiscard]] double share_of_bad() const noexcept {
    return static_cast<double>(bad_) / static_cast<double>(std::max<std::size_t>(seen_, 1));
  }
  [[nodiscard]] double mean_service_seconds() const noexcept {
    return service_seconds_ / static_cast<double>(std::max<std::size_t>(seen_, 1));
  }
  [[nodiscard]] double mean_wait_seconds() const noexcept {
    return wait_seconds_ / static_cast<double>(std::max<std::size_t>(seen_, 1));
  }
  [[nodiscard]] std::size_t most_in_flight() const noexcept { return most_in_flight_; }
  [[nodiscard]] std::chrono::nanoseconds now() const noexcept { return now_; }

 private:
  std::chrono::nanoseconds now_{0};
  bool full_ = false;
  std::size_t discard_ = 0;
  std::size_t block_size_ = 0;
  std::size_t steps_ = 0;
  std::size_t seen_ = 0;
  std::size_t bad_ = 0;
  std::size_t most_in_flight_ = 0;
  double service_seconds_ = 0;
  double wait_seconds_ = 0;
  Tally block_;
  std::array<Tally, kBlocks> blocks_{};
  std::size_t blocks_done_ = 0;
};

}  // namespace streamgate::policies::internal
