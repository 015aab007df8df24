// SPDX-License-Identifier: Apache-2.0
//
// Sleeping on a word that two processes share, and waking whoever sleeps on it. The word decides:
// a sleeper looks at it again, so waking once too often does no harm. Linux only, as the workers
// are.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace streamgate::executor {

/// Sleeps while the word is `expected`, until a wake, the deadline or a signal, whichever is first.
/// time_point::max() is no deadline. What woke it the caller finds out from the word.
void sleep_on_shared(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                     std::chrono::steady_clock::time_point deadline) noexcept;

/// Wakes everybody who sleeps on the word, in this process and in others.
void wake_on_shared(std::atomic<std::uint32_t>& word) noexcept;

}  // namespace streamgate::executor
