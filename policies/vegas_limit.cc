// SPDX-License-Identifier: Apache-2.0
//
// `vegas`: the delay-based rule of TCP Vegas in the form, and with the defaults, that Netflix's
// concurrency-limits publishes as VegasLimit: the queue is limit * (1 - fastest / now), kept between
// 3 and 6 times log10(limit). It is here to be compared with; it is not tuned.
#include <streamgate/policies/internal/limit_factories.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace streamgate::policies::internal {
namespace {

constexpr double kProbeMultiplier = 30;
constexpr std::size_t kVegasTop = 1000;

class VegasLimit final : public LimitPolicy {
 public:
  explicit VegasLimit(const LimitPolicyOptions& options) noexcept
      : initial_(options.initial),
        limit_(static_cast<double>(options.initial)),
        top_(static_cast<double>(std::min(kVegasTop, options.ceiling))) {
    draw_jitter();
  }

  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return true; }

  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    const auto service = static_cast<double>(observation.service.count());
    if (service <= 0) return std::nullopt;  // The publication has no answer to it.
    ++since_probe_;
    if (jitter_ * kProbeMultiplier * limit_ <= static_cast<double>(since_probe_)) {
      // From time to time the fastest is measured anew, whatever the load is then.
      draw_jitter();
      since_probe_ = 0;
      fastest_ = service;
      return std::nullopt;
    }
    if (fastest_ == 0 || service < fastest_) {
      fastest_ = service;
      return std::nullopt;
    }
    const std::size_t before = whole();
    const double step = std::max(1.0, std::floor(std::log10(limit_)));
    const double queue = std::ceil(limit_ * (1 - fastest_ / service));
    double next = limit_;
    if (!observation.good) {
      next -= step;
    } else if (static_cast<double>(observation.in_flight) * 2 < limit_) {
      return std::nullopt;
    } else if (queue <= step) {
      next += 6 * step;
    } else if (queue < 3 * step) {
      next += step;
    } else if (queue > 6 * step) {
      next -= step;
    }
    limit_ = std::clamp(next, 1.0, top_);
    if (whole() == before) return std::nullopt;
    return whole();
  }

 private:
  [[nodiscard]] std::size_t whole() const noexcept { return static_cast<std::size_t>(limit_); }

  /// In [0.5, 1). The publication draws it from the thread's generator; a generator of our own
  /// keeps a simulation the same from run to run.
  void draw_jitter() noexcept {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    jitter_ = 0.5 + 0.5 * static_cast<double>(random_ >> 11U) * 0x1p-53;
  }

  std::size_t initial_;
  double limit_;
  double top_;
  double fastest_ = 0;  ///< Nanoseconds; 0: not measured.
  double jitter_ = 0;
  std::uint64_t since_probe_ = 0;
  std::uint64_t random_ = 1;
};

}  // namespace

std::unique_ptr<LimitPolicy> make_vegas_limit(const LimitPolicyOptions& options) {
  return std::make_unique<VegasLimit>(options);
}

}  // namespace streamgate::policies::internal
