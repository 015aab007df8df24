// SPDX-License-Identifier: Apache-2.0
//
// `knee`: looks for the smallest limit with which throughput is at its best, by trying limits above
// and below the present one and comparing completions per second. It has no baseline of latency. It
// does not know the ceiling's reason; it never asks for more than the ceiling. Here are its brakes
// and what it makes of a completion; how it searches is internal/knee_search's.
#include <streamgate/policies/internal/knee_search.h>
#include <streamgate/policies/internal/limit_factories.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

namespace streamgate::policies::internal {
namespace {

constexpr double kErrorShare = 0.05;  ///< Of a window's tasks, above the usual share.
constexpr double kErrorShareAtOnce = 0.25;
constexpr std::size_t kFewestErrors = 3;  ///< Fewer say nothing.
constexpr double kLatencyStep = 1.25;

class KneeLimit final : public LimitPolicy {
 public:
  explicit KneeLimit(const LimitPolicyOptions& options) noexcept
      : initial_(options.initial),
        latency_target_(std::chrono::duration<double>(options.latency_target).count()),
        queue_delay_(std::chrono::duration<double>(options.queue_delay).count()),
        search_(
            options.initial, options.ceiling,
            options.initial_is_knee ? KneeSearch::Start::kAtKnee : KneeSearch::Start::kAnywhere) {}

  std::size_t initial_limit() const noexcept override { return initial_; }
  bool wants_observations() const noexcept override { return search_.ceiling() > 1; }

  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    const std::size_t before = search_.limit();
    take(observation);
    if (search_.limit() == before) return std::nullopt;
    return search_.limit();
  }

  std::optional<KneeEstimate> knee() const noexcept override { return search_.knee(); }
  std::vector<LimitDecision> recent_decisions() const override { return search_.log().recent(); }
  std::array<std::uint64_t, kLimitReasons> decision_counts() const noexcept override {
    return search_.log().counts();
  }
  std::uint64_t windows() const noexcept override { return search_.windows(); }

 private:
  void take(const Observation& o) noexcept {
    const double seconds = search_.window().advance(o);
    if (o.limit != search_.limit()) return others_limit(o);
    strangers_ = 0;
    // What the others took does not belong to those that follow.
    if (o.missed > 0) search_.start_window(search_.limit());
    switch (search_.window().take(o, search_.limit(), seconds, usual_bad_ + kErrorShareAtOnce)) {
      case CompletionWindow::Ended::kNothing:
        break;
      case CompletionWindow::Ended::kBadly:
        brake_on_errors();
        break;
      case CompletionWindow::Ended::kBlock:
        search_.end_block();
        break;
      case CompletionWindow::Ended::kWindow:
        end_window();
        break;
      case CompletionWindow::Ended::kUnfilled:
        end_unfilled_window();
        break;
    }
  }

  /// The gate is not where this policy has put it. A few completions may still tell of the limit
  /// before; more mean that somebody holds it there, perhaps not for ever.
  void others_limit(const Observation& o) noexcept {
    if (++strangers_ < 2 * std::max(o.limit, search_.limit()) + 64 || o.limit == 0) return;
    if (o.limit < search_.limit()) search_.stay_at_most(o.limit);
    search_.begin_at(o.limit, LimitReason::kMoved);
  }

  void end_window() noexcept {
    search_.count_window();
    idle_windows_ = 0;
    if (too_many_failed()) return brake_on_errors();
    const std::size_t limit = search_.limit();
    if (limit == search_.base()) checked_limit_ = 0;  // Lowering it has helped.
    if (search_.window().sum().count < 1) {
      // All have failed, which is usual by now: a throughput of nothing can be compared with
      // nothing.
      if (limit != search_.base()) return search_.fall_back(search_.base(), LimitReason::kErrors);
      return search_.start_window();
    }
    if (latency_target_ > 0 && search_.window().mean_service_seconds() > latency_target_ &&
        limit > 1) {
      return search_.fall_back(limit > search_.base()
                                   ? search_.base()
                                   : search_.step(limit, KneeSearch::Way::kDown, kLatencyStep),
                               LimitReason::kLatency);
    }
    judge_queue();
    search_.end_window();
  }

  void judge_queue() noexcept {
    if (queue_delay_ <= 0) return;
    const bool is_short = search_.window().mean_wait_seconds() < queue_delay_;
    if (is_short && search_.may_grow()) {
      search_.record(LimitReason::kShortQueue, search_.base(), {});
    }
    search_.set_growth(is_short ? KneeSearch::Growth::kHeld : KneeSearch::Growth::kFree);
  }

  /// The permits lay idle: what was completed is what was asked for, and says nothing of the limit.
  void end_unfilled_window() noexcept {
    if (too_many_failed()) return brake_on_errors();
    if (search_.limit() != search_.base()) {
      return search_.end_unfilled_trial(search_.window().most_in_flight());
    }
    if (++idle_windows_ == 1) search_.record(LimitReason::kApplication, search_.base(), {});
    search_.start_window();
  }

  [[nodiscard]] bool too_many_failed() noexcept {
    return search_.window().bad() >= kFewestErrors &&
           search_.window().share_of_bad() > usual_bad_ + kErrorShare;
  }

  void brake_on_errors() noexcept {
    const double bad = search_.window().share_of_bad();
    const std::size_t limit = search_.limit();
    if (limit == search_.base() && checked_limit_ != 0 && bad > 0.7 * checked_bad_) {
      // As many fail at half the limit: throttling is no help.
      usual_bad_ = std::min(1.0, 1.1 * std::max(bad, checked_bad_));
      search_.forget_brake();
      return search_.begin_at(std::exchange(checked_limit_, 0), LimitReason::kNotErrors);
    }
    if (limit != search_.base()) {
      return search_.fall_back(std::min(search_.base(), limit), LimitReason::kErrors);
    }
    if (limit == 1) {
      usual_bad_ = bad;
      search_.record(LimitReason::kNotErrors, limit, {});
      return search_.start_window();
    }
    checked_limit_ = limit;
    checked_bad_ = bad;
    search_.fall_back(limit / 2, LimitReason::kErrors);
  }

  std::size_t initial_;
  double latency_target_;  ///< Seconds; 0: none.
  double queue_delay_;     ///< Seconds; 0: none.
  KneeSearch search_;
  std::size_t strangers_ = 0;
  std::size_t idle_windows_ = 0;
  double usual_bad_ = 0;           ///< The share of failing tasks that the limit has no part in.
  std::size_t checked_limit_ = 0;  ///< The base before errors halved it; 0: nothing to check.
  double checked_bad_ = 0;
};

}  // namespace

std::unique_ptr<LimitPolicy> make_knee_limit(const LimitPolicyOptions& options) {
  if (options.mode == LimitMode::kShadow) return make_shadow_knee_limit(options);
  if (options.cores_to_split > 1) return make_split_limit(options);
  return std::make_unique<KneeLimit>(options);
}

}  // namespace streamgate::policies::internal
