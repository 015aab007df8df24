// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/internal/log.h>

#include <streamgate/executor/internal/log_rate.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace streamgate::executor {
namespace {

/// Never destroyed: something may be said after main.
struct Log {
  std::mutex mutex;  ///< Guards the two below.
  LogRate rate;
  std::shared_ptr<const LogSink> sink;  ///< Shared with the calls of it. Null: stderr.
  std::atomic<LogLevel> least{LogLevel::kInfo};
};

Log& the_log() {
  static auto* const log = new Log;
  return *log;
}

/// Each line in one piece, so that lines of other threads do not cut it.
void write_to_stderr(const LogRecord& record) {
  std::string out;
  std::string_view rest = record.text;
  do {
    const std::size_t end = rest.find('\n');
    out += "streamgate: ";
    out += rest.substr(0, end);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    if (rest.empty() && record.left_out != 0) {
      out += " (and " + std::to_string(record.left_out) + " like it before)";
    }
    out += '\n';
  } while (!rest.empty());
  // stdio locks the stream for the call, and stderr is not buffered beyond it.
  std::fwrite(out.data(), 1, out.size(), stderr);
}

enum class Often : std::uint8_t { kLimited, kEach };

void say(LogRecord record, Often often) noexcept {
  try {
    Log& log = the_log();
    if (record.level < log.least.load(std::memory_order_relaxed)) return;
    std::shared_ptr<const LogSink> sink;
    {
      const std::lock_guard lock(log.mutex);
      if (often == Often::kLimited) {
        const auto left_out = log.rate.take(record.event, std::chrono::steady_clock::now());
        if (!left_out) return;
        record.left_out = *left_out;
      }
      sink = log.sink;
    }
    if (sink == nullptr) return write_to_stderr(record);
    (*sink)(record);
  } catch (...) {
    // There is nobody left to tell.
  }
}

}  // namespace

std::string_view to_string(LogLevel level) noexcept {
  constexpr std::array<std::string_view, 4> kWords = {"debug", "info", "warning", "error"};
  return kWords[static_cast<std::size_t>(level)];
}

void set_log_sink(LogSink sink) {
  auto wanted = sink ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
  const std::lock_guard lock(the_log().mutex);
  // The former one ends outside of the lock, as it is the user's.
  the_log().sink.swap(wanted);
}

void set_log_level(LogLevel least) noexcept {
  the_log().least.store(least, std::memory_order_relaxed);
}

void log(LogLevel level, std::string_view event, std::string_view text,
         std::initializer_list<LogField> fields) noexcept {
  say({.level = level, .event = event, .text = text, .fields = fields}, Often::kLimited);
}

void log_each(LogLevel level, std::string_view event, std::string_view text,
              std::initializer_list<LogField> fields) noexcept {
  say({.level = level, .event = event, .text = text, .fields = fields}, Often::kEach);
}

}  // namespace streamgate::executor
