// SPDX-License-Identifier: Apache-2.0
//
// The two simple policies, and the making by name. `cheapest` is in cheapest_overflow.cc.
#include <streamgate/policies/overflow_policy.h>

#include <streamgate/policies/internal/overflow_factories.h>

#include <stdexcept>
#include <string>

namespace streamgate::policies {
namespace {

class NeverOverflow final : public OverflowPolicy {
 public:
  OverflowDecision decide(const OverflowSituation& situation) noexcept override {
    return {.path = CallPath::kHere,
            .reason = situation.room ? OverflowReason::kRoom : OverflowReason::kOff};
  }
  void observe(const OverflowObservation&) noexcept override {}
  bool wants_observations() const noexcept override { return false; }
};

class OverflowWhenFull final : public OverflowPolicy {
 public:
  OverflowDecision decide(const OverflowSituation& situation) noexcept override {
    if (situation.room) return {.path = CallPath::kHere, .reason = OverflowReason::kRoom};
    if (situation.workers == 0)
      return {.path = CallPath::kHere, .reason = OverflowReason::kNoWorker};
    // Calls before it on each way, for each place there is on it; compared without dividing.
    const std::size_t busy = situation.workers - situation.workers_idle;
    const std::size_t in_workers = (busy + situation.workers_waiting) * situation.width;
    const std::size_t in_here = (situation.width + situation.waiting) * situation.workers;
    if (in_workers < in_here)
      return {.path = CallPath::kWorker, .reason = OverflowReason::kFewerAhead};
    return {.path = CallPath::kHere, .reason = OverflowReason::kMoreAhead};
  }
  void observe(const OverflowObservation&) noexcept override {}
  bool wants_observations() const noexcept override { return false; }
};

}  // namespace

std::string_view to_string(OverflowReason reason) noexcept {
  constexpr std::array<std::string_view, kOverflowReasons> kNames = {
      "room",   "off",        "no_worker", "fewer_ahead", "more_ahead", "faster",
      "slower", "unmeasured", "trial",     "no_gain",     "baseline"};
  return kNames[static_cast<std::size_t>(reason)];
}

std::unique_ptr<OverflowPolicy> make_overflow_policy(const OverflowPolicyOptions& options) {
  if (options.name == "never") return std::make_unique<NeverOverflow>();
  if (options.name == "when_full") return std::make_unique<OverflowWhenFull>();
  if (options.name == "cheapest") return internal::make_cheapest_overflow(options);
  std::string known;
  for (const std::string_view name : kOverflowPolicyNames) {
    known += known.empty() ? "" : ", ";
    known += name;
  }
  throw std::invalid_argument("\"" + std::string(options.name) +
                              "\" is not an overflow policy; known: " + known);
}

}  // namespace streamgate::policies
