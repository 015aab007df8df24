// SPDX-License-Identifier: Apache-2.0
//
// How many threads this process has, whoever made them. The one place with a platform's names.
#pragma once

#include <chrono>
#include <cstddef>

namespace digits {

/// The threads of this process, or 0 where the platform does not say. Thread-safe; some 20 us.
[[nodiscard]] std::size_t process_threads() noexcept;

/// Blocks until the process has at most so many threads, or the time is over; says which.
[[nodiscard]] bool wait_for_threads_to_end(std::size_t down_to, std::chrono::milliseconds at_most);

}  // namespace digits
