// SPDX-License-Identifier: Apache-2.0
//
// `gradient2`: follows the ratio of the long-term to the present service time, with the rule and the
// defaults that Netflix's concurrency-limits publishes as Gradient2Limit, inside the window that it
// publishes as WindowedLimit. It is here to be compared with; it is not tuned.
#include <streamgate/policies/internal/limit_factories.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace streamgate::policies::internal {
namespace {

constexpr double kSmoothing = 0.2;
constexpr double kQueue = 4;
constexpr double kTolerance = 1.5;
constexpr double kLongWindow = 600;
constexpr std::size_t kWarmUp = 10;
constexpr std::size_t kGradient2Floor = 20;
constexpr std::size_t kGradient2Top = 200;
constexpr std::chrono::seconds kWindow{1};
constexpr std::size_t kWindowSamples = 10;
constexpr std::chrono::microseconds kFastestSample{100};  ///< Faster ones are not looked at.

class Gradient2Limit final : public LimitPolicy {
 public:
  explicit Gradient2Limit(const LimitPolicyOptions& options) noexcept
      : initial_(options.initial),
        limit_(static_cast<double>(options.initial)),
        top_(static_cast<double>(std::min(kGradient2Top, options.ceiling))),
        floor_(std::min(static_cast<double>(kGradient2Floor), top_)) {}

  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return true; }

  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    if (observation.service < kFastestSample) return std::nullopt;
    sum_ += static_cast<double>(observation.service.count());
    ++samples_;
    in_flight_ = std::max(in_flight_, observation.in_flight);
    if (observation.now < window_end_ || samples_ < kWindowSamples) return std::nullopt;
    const std::size_t before = static_cast<std::size_t>(limit_);
    update(sum_ / static_cast<double>(samples_));
    sum_ = 0;
    samples_ = 0;
    in_flight_ = 0;
    window_end_ = observation.now + kWindow;
    const auto after = static_cast<std::size_t>(limit_);
    if (after == before) return std::nullopt;
    return after;
  }

 private:
  void update(double service) noexcept {
    // A plain mean first, then an exponential one.
    if (averaged_ < kWarmUp) {
      ++averaged_;
      warm_up_sum_ += service;
      long_term_ = warm_up_sum_ / static_cast<double>(averaged_);
    } else {
      constexpr double kFactor = 2 / (kLongWindow + 1);
      long_term_ = long_term_ * (1 - kFactor) + service * kFactor;
    }
    // After a long overload the mean comes down faster than it went up.
    if (long_term_ / service > 2) long_term_ *= 0.95;
    if (static_cast<double>(in_flight_) < limit_ / 2) return;
    const double gradient = std::clamp(kTolerance * long_term_ / service, 0.5, 1.0);
    const double wanted = limit_ * gradient + kQueue;
    limit_ = std::clamp(limit_ * (1 - kSmoothing) + wanted * kSmoothing, floor_, top_);
  }

  std::size_t initial_;
  double limit_;
  double top_;
  double floor_;
  double long_term_ = 0;  ///< Nanoseconds.
  double warm_up_sum_ = 0;
  std::size_t averaged_ = 0;
  double sum_ = 0;
  std::size_t samples_ = 0;
  std::size_t in_flight_ = 0;
  std::chrono::nanoseconds window_end_{0};
};

}  // namespace

std::unique_ptr<LimitPolicy> make_gradient2_limit(const LimitPolicyOptions& options) {
  return std::make_unique<Gradient2Limit>(options);
}

}  // namespace streamgate::policies::internal
