// SPDX-License-Identifier: Apache-2.0
//
// What the measured throughputs of `knee` prove: whether a limit is better than another one, or no
// worse, and whether the plant has changed. Which limits are compared is knee_search's.
#pragma once

#include <streamgate/policies/internal/completion_window.h>
#include <streamgate/policies/internal/level_statistics.h>

#include <cstddef>
#include <cstdint>

namespace streamgate::policies::internal {

/// Judges limits by their completions per second, with an interval from the scatter within windows.
///
/// Externally synchronised. Owns its evidence. Never blocks, allocates nothing. Nothing fails: what
/// was not measured is unclear.
///
///     KneeEvidence evidence;
///     evidence.add(4, window, 7);
///     evidence.add(8, next_window, 8);
///     if (evidence.judge(8, 4) == KneeEvidence::Verdict::kYes) move_to(8);
class KneeEvidence {
 public:
  enum class Verdict : std::uint8_t { kYes, kNo, kUnclear };

  /// A whole window at that limit, the `number`th of all.
  void add(std::size_t limit, const CompletionWindow& window, std::uint64_t number) noexcept;
  void forget() noexcept { levels_.clear(); }
  /// Forgets what was last added to before that window, the limit `but` excepted.
  void forget_before(std::uint64_t number, std::size_t but) noexcept {
    levels_.forget_before(number, but);
  }

  /// Whether `limit` should be the base in place of `base`: a higher one as it completes more, a
  /// lower one as it completes as much.
  [[nodiscard]] Verdict judge(std::size_t limit, std::size_t base) const noexcept;
  /// The same by evidence that is recent, as of window `number`; unclear without it.
  [[nodiscard]] Verdict judge_recent(std::size_t limit, std::size_t base,
                                     std::uint64_t number) const noexcept;
  /// The same by the blocks of an incomplete window, where they leave no doubt. They are added as
  /// evidence then.
  [[nodiscard]] Verdict judge_early(std::size_t limit, std::size_t base,
                                    const CompletionWindow& window, std::uint64_t number) noexcept;

  [[nodiscard]] Comparison compare(std::size_t limit, std::size_t base) const noexcept;
  /// This window at the base against those before it; all 0 unless it differs beyond doubt.
  [[nodiscard]] Comparison change(const CompletionWindow& window, std::size_t base) const noexcept;
  /// Whether a lower limit completes so much more that the search must have come by evidence that
  /// no longer holds: on its way it has passed no such limit.
  [[nodiscard]] static bool is_surprise(const Comparison& gain) noexcept;
  /// Whether a trial gained more than its limit can have brought: a higher one no more than its own
  /// share, a lower one hardly anything.
  [[nodiscard]] static bool is_doubtful(std::size_t limit, std::size_t base,
                                        const Comparison& gain) noexcept;
  /// As measured at that limit; 0: it was not.
  [[nodiscard]] double per_second(std::size_t limit) const noexcept {
    const Level* level = levels_.find(limit);
    return level == nullptr ? 0 : level->tally.rate();
  }
  /// Whether the base's evidence is what keeps the two from being told apart.
  [[nodiscard]] bool base_is_weaker(std::size_t limit, std::size_t base) const noexcept;

  [[nodiscard]] double scatter() const noexcept { return levels_.scatter(); }

 private:
  LevelStatistics levels_;
};

}  // namespace streamgate::policies::internal
