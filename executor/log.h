// SPDX-License-Identifier: Apache-2.0
//
// What the library says to whoever reads a service's log: for what an operator must know and no
// return value can carry, never on the path of a task. To stderr, or to a sink of the service's;
// spdlog.h makes one of a spdlog logger. No logging library: the service has one.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace streamgate::executor {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarning, kError };

/// "debug", "info", "warning" or "error".
[[nodiscard]] std::string_view to_string(LogLevel level) noexcept;

struct LogField {
  std::string_view key;
  std::string_view value;
};

/// One thing that is said. The texts live for the call of the sink.
struct LogRecord {
  LogLevel level = LogLevel::kInfo;
  std::string_view event{};  ///< A stable word to search for: "worker_ended".
  std::string_view text{};   ///< A sentence for people; of several lines, where a list is long.
  std::span<const LogField> fields{};  ///< What the sentence says, for programs.
  std::uint64_t left_out = 0;  ///< Records of this event that the rate limit has kept back before.
};

/// Takes the records. Called from many threads at once, perhaps from one that must not wait long: a
/// sink hands over and returns. No lock is held. What it throws is dropped.
using LogSink = std::function<void(const LogRecord&)>;

/// Takes the place of stderr, for all executors of the process; an empty one gives stderr back. A
/// call of the former sink may still be under way on another thread. Thread-safe.
///
///     streamgate::set_log_sink(streamgate::to_spdlog(spdlog::default_logger()));
void set_log_sink(LogSink sink);

/// Records below this level are dropped; at first kInfo. Thread-safe.
void set_log_level(LogLevel least) noexcept;

}  // namespace streamgate::executor
