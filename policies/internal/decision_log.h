// SPDX-License-Identifier: Apache-2.0
//
// The decisions of a limit policy: the last ones whole, all of them as counts. It judges nothing.
#pragma once

#include <streamgate/policies/limit_policy.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace streamgate::policies::internal {

/// Externally synchronised. Owns its ring. Never blocks; add allocates nothing; nothing fails.
///
///     log.add({.now = now, .from = 4, .to = 8, .reason = LimitReason::kTrial});
///     for (const LimitDecision& decision : log.recent()) print(decision);
class DecisionLog {
 public:
  void add(const LimitDecision& decision) noexcept {
    ++counts_[static_cast<std::size_t>(decision.reason)];
    ring_[decided_++ % kKept] = decision;
  }

  /// The oldest first.
  [[nodiscard]] std::vector<LimitDecision> recent() const {
    std::vector<LimitDecision> recent;
    const std::uint64_t first = decided_ > kKept ? decided_ - kKept : 0;
    for (std::uint64_t i = first; i < decided_; ++i) recent.push_back(ring_[i % kKept]);
    return recent;
  }

  [[nodiscard]] const std::array<std::uint64_t, kLimitReasons>& counts() const noexcept {
    return counts_;
  }

 private:
  static constexpr std::size_t kKept = 64;

  std::array<LimitDecision, kKept> ring_{};
  std::uint64_t decided_ = 0;
  std::array<std::uint64_t, kLimitReasons> counts_{};
};

}  // namespace streamgate::policies::internal
