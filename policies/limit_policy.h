// SPDX-License-Identifier: Apache-2.0
//
// What moves a gate's limit: the interface of limit policies, and `fixed`. Decisions only; the gate
// enforces the limit, and the executor feeds the observations.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

namespace streamgate::policies {

/// One completed task, as a limit policy sees it.
struct Observation {
  std::chrono::nanoseconds now{0};      ///< Time of completion, on the caller's own clock.
  std::chrono::nanoseconds wait{0};     ///< From submission to admission.
  std::chrono::nanoseconds service{0};  ///< From admission to the device's completion.
  std::size_t in_flight = 0;  ///< Permits in use when the task completed, itself included.
  std::size_t limit = 0;      ///< The limit in force then.
  bool good = true;           ///< Whether the task did what was asked (outcome ok).
};

/// Moves the limit of one gate from observed completions.
///
/// Thread-safety: externally synchronised; the executor calls it from one thread at a time.
/// Blocking: never. Failure: none; a policy that cannot tell returns nothing.
/// A policy has no clock: time reaches it in observations, so a simulation drives it as well as an
/// executor does.
///
///     auto policy = streamgate::policies::make_limit_policy({.name = "fixed", .initial = 2});
///     if (auto limit = policy->observe(observation)) gate.set_limit(op_class, *limit);
class LimitPolicy {
 public:
  virtual ~LimitPolicy() = default;

  /// The limit to start from. Never 0.
  [[nodiscard]] virtual std::size_t initial_limit() const noexcept = 0;

  /// Whether the policy needs observations at all; if not, the executor spares the call.
  [[nodiscard]] virtual bool wants_observations() const noexcept = 0;

  /// Takes one completion into account; a value is the new limit.
  [[nodiscard]] virtual std::optional<std::size_t> observe(
      const Observation& observation) noexcept = 0;
};

/// Every name that make_limit_policy takes, for it and for the config.
inline constexpr std::array<std::string_view, 1> kLimitPolicyNames = {"fixed"};

struct LimitPolicyOptions {
  std::string_view name = "fixed";
  std::size_t initial = 1;  ///< In permits; at least 1.
  std::size_t ceiling = 1;  ///< The largest limit that the policy may ask for.
};

/// The policy of that name. Throws std::invalid_argument that names the known policies for an
/// unknown name, and for an initial limit of 0 or above the ceiling.
[[nodiscard]] std::unique_ptr<LimitPolicy> make_limit_policy(const LimitPolicyOptions& options);

}  // namespace streamgate::policies
