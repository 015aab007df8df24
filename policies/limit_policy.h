// SPDX-License-Identifier: Apache-2.0
//
// What moves a gate's limit: the interface of limit policies, and their making by name. Decisions
// only; the gate enforces the limit, and the executor feeds the observations.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace streamgate::policies {

/// One completed task, as a limit policy sees it.
struct Observation {
  std::chrono::nanoseconds now{0};      ///< Time of completion, on the caller's own clock.
  std::chrono::nanoseconds wait{0};     ///< From submission to admission.
  std::chrono::nanoseconds service{0};  ///< From admission to the device's completion.
  std::size_t in_flight = 0;  ///< Permits in use when the task completed, itself included.
  std::size_t limit = 0;      ///< The limit in force then.
  bool good = true;           ///< Whether the task did what was asked (outcome ok).
  std::size_t missed = 0;     ///< Completions before this one that the policy was not told of.
};

/// Why a policy decided as it did.
enum class LimitReason : std::uint8_t {
  kHelps,        ///< A higher limit completes more: it is the new base.
  kEnough,       ///< A lower limit completes as much: it is the new base.
  kNoGain,       ///< A higher limit was tried and completes no more.
  kLoss,         ///< A lower limit was tried and completes less.
  kUnclear,      ///< The evidence did not decide in the time given to it; back to the base.
  kTrial,        ///< Another limit is tried.
  kRemeasure,    ///< Back to the base, whose own evidence has become the weaker half.
  kApplication,  ///< The application, not the limit, bounds the load.
  kErrors,       ///< Too many tasks did not do what was asked.
  kNotErrors,    ///< They fail as much at a lower limit: it is not the limit's doing.
  kLatency,      ///< The mean service time is above the target.
  kChanged,      ///< The base completes much more or less than it did: all evidence is void.
  kMoved,        ///< Somebody else has moved the gate's limit.
  kShortQueue,   ///< Tasks wait less than they may: no reason to let in more.
  kSplit         ///< Another number of threads within a task is tried, or was found to be better.
};
inline constexpr std::size_t kLimitReasons = 15;

/// "helps", "no_gain", ...: the word for metrics and `streamgate top`.
[[nodiscard]] std::string_view to_string(LimitReason reason) noexcept;

/// One decision, with its evidence.
struct LimitDecision {
  std::chrono::nanoseconds now{0};  ///< On the clock of the observations.
  std::uint64_t window = 0;         ///< Windows of completions that were complete by then.
  std::size_t from = 0;
  std::size_t to = 0;
  LimitReason reason = LimitReason::kTrial;
  /// The natural logarithm of the tried limit's throughput over the base's, with the interval that
  /// holds it with 90 %; all 0 where none was measured.
  double gain = 0;
  double gain_low = 0;
  double gain_high = 0;
};

/// Where throughput stops growing with the limit, as far as a policy has found out.
struct KneeEstimate {
  std::size_t knee = 0;
  std::size_t low = 0;                    ///< Measured to be too little, or 1.
  std::size_t high = 0;                   ///< Measured to bring no more, or the ceiling.
  std::chrono::nanoseconds confirmed{0};  ///< When; on the clock of the observations.
  double per_second = 0;                  ///< Good completions at the knee.
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

  /// The knee, from a policy that looks for it and has found it once.
  [[nodiscard]] virtual std::optional<KneeEstimate> knee() const noexcept { return std::nullopt; }

  /// The last decisions, the oldest first, from a policy that keeps them. Allocates.
  [[nodiscard]] virtual std::vector<LimitDecision> recent_decisions() const { return {}; }

  /// How many windows of completions the policy has judged; 0 from one that has no windows.
  [[nodiscard]] virtual std::uint64_t windows() const noexcept { return 0; }

  /// How many threads libtorch should use within a task; 0 from a policy that has no part in that.
  [[nodiscard]] virtual std::size_t intra_op_threads() const noexcept { return 0; }

  /// How often the policy has decided for each reason, by LimitReason.
  [[nodiscard]] virtual std::array<std::uint64_t, kLimitReasons> decision_counts() const noexcept {
    return {};
  }
};

/// Every name that make_limit_policy takes, for it and for the config.
inline constexpr std::array<std::string_view, 5> kLimitPolicyNames = {"fixed", "aimd", "vegas",
                                                                      "gradient2", "knee"};

/// Whether what a policy asks for is put into force. One that has to try limits to learn about them
/// goes by what the load shows of itself when it is only watched.
enum class LimitMode : std::uint8_t { kEnforced, kShadow };

struct LimitPolicyOptions {
  std::string_view name = "fixed";
  std::size_t initial = 1;  ///< In permits; at least 1.
  std::size_t ceiling = 1;  ///< The largest limit that the policy may ask for.
  /// `knee` only: the initial limit was measured to be the knee, so that it looks nearby first.
  bool initial_is_knee = false;
  /// `knee` only: a brake. The limit is lowered while the mean service time of a window is above
  /// this; 0 is none.
  std::chrono::nanoseconds latency_target{0};
  /// `knee` only: a brake. The limit is not raised while the tasks of a window wait less than this
  /// for their admission, on average; 0 is none.
  std::chrono::nanoseconds queue_delay{0};
  LimitMode mode = LimitMode::kEnforced;
  /// `knee` only: with more than one, it also chooses between many tasks with one thread each and
  /// fewer tasks that share so many cores; 0 leaves the threads within a task alone.
  std::size_t cores_to_split = 0;
};

/// The policy of that name. Throws std::invalid_argument that names the known policies for an
/// unknown name, and for an initial limit of 0 or above the ceiling.
[[nodiscard]] std::unique_ptr<LimitPolicy> make_limit_policy(const LimitPolicyOptions& options);

}  // namespace streamgate::policies
