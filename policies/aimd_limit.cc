// SPDX-License-Identifier: Apache-2.0
//
// `aimd`: additive increase, multiplicative decrease, with the rule and the defaults that Netflix's
// concurrency-limits publishes as AIMDLimit. It is here to be compared with; it is not tuned.
#include <streamgate/policies/internal/limit_factories.h>

#include <algorithm>
#include <chrono>

namespace streamgate::policies::internal {
namespace {

constexpr double kBackoffRatio = 0.9;
constexpr std::chrono::seconds kTimeout{5};  ///< A slower task counts as a failed one.
constexpr std::size_t kAimdFloor = 20;
constexpr std::size_t kAimdTop = 200;

class AimdLimit final : public LimitPolicy {
 public:
  explicit AimdLimit(const LimitPolicyOptions& options) noexcept
      : initial_(options.initial),
        limit_(options.initial),
        top_(std::min(kAimdTop, options.ceiling)),
        floor_(std::min(kAimdFloor, top_)) {}

  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return true; }

  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    std::size_t next = limit_;
    if (!observation.good || observation.service > kTimeout) {
      next = static_cast<std::size_t>(static_cast<double>(limit_) * kBackoffRatio);
    } else if (observation.in_flight * 2 >= limit_) {
      next = limit_ + 1;
    }
    next = std::clamp(next, floor_, top_);
    if (next == limit_) return std::nullopt;
    limit_ = next;
    return next;
  }

 private:
  std::size_t initial_;
  std::size_t limit_;
  std::size_t top_;
  std::size_t floor_;
};

}  // namespace

std::unique_ptr<LimitPolicy> make_aimd_limit(const LimitPolicyOptions& options) {
  return std::make_unique<AimdLimit>(options);
}

}  // namespace streamgate::policies::internal
