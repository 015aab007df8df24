// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/workers/restart_policy.h>

#include <algorithm>

namespace streamgate::executor {

void RestartPolicy::failed_to_start(TimePoint now) {
  ++failed_starts_;
  died(now);
}

void RestartPolicy::died(TimePoint now) {
  deaths_.push_back(now);
  while (now - deaths_.front() > options_.breaker_window) deaths_.pop_front();
  ++in_a_row_;
  const bool too_many =
      options_.breaker_deaths > 0 && (deaths_.size() >= options_.breaker_deaths ||
                                      failed_starts_ >= options_.breaker_failed_starts);
  if (open_ || too_many) {
    // Open already: the one that was tried after the pause died, too.
    open_ = true;
    deaths_.clear();
    next_start_ = now + jittered(options_.breaker_pause);
    return;
  }
  if (in_a_row_ == 1) {
    next_start_ = std::max(next_start_, now);
    return;
  }
  std::chrono::nanoseconds delay = options_.first_delay;
  for (std::size_t i = 2; i < in_a_row_ && delay < options_.longest_delay; ++i) delay *= 2;
  next_start_ = now + jittered(std::min<std::chrono::nanoseconds>(delay, options_.longest_delay));
}

void RestartPolicy::served(TimePoint now) noexcept {
  in_a_row_ = 0;
  // While the breaker's pause lasts, the answers of workers that were there before prove nothing
  // about new ones.
  if (open_ && now >= next_start_) open_ = false;
}

std::chrono::nanoseconds RestartPolicy::jittered(std::chrono::nanoseconds delay) {
  std::uniform_real_distribution<double> factor(1 - options_.jitter, 1 + options_.jitter);
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double, std::nano>(static_cast<double>(delay.count()) *
                                               factor(random_)));
}

}  // namespace streamgate::executor
