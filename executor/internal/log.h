// SPDX-License-Identifier: Apache-2.0
//
// The one way in which the library says something to whoever reads a service's log. For what an
// operator must know and no return value can carry; never on the path of a task.
#pragma once

#include <string_view>

namespace streamgate::executor {

/// Writes "streamgate: TEXT" as one line to stderr, in one piece, so that lines of other threads do
/// not cut it. Thread-safe. May block as stderr does.
void log_line(std::string_view text) noexcept;

}  // namespace streamgate::executor
