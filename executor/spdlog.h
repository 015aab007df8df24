// SPDX-License-Identifier: Apache-2.0
//
// From the library's log to a spdlog logger of the service's. All in this header, for those who
// include it and have spdlog: the library itself does not need it, and knows no version of it.
#pragma once

#include <streamgate/executor/log.h>

#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace streamgate {

/// One line of the record: the sentence, then `event=... key="value"` as programs read it.
/// Thread-safe.
[[nodiscard]] inline std::string to_log_line(const executor::LogRecord& record) {
  const auto quoted = [](std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      if (c == '\n') {
        out += "\\n";
      } else {
        out += c;
      }
    }
    return out + '"';
  };
  std::string line;
  for (const char c : record.text) {
    if (c == '\n') {
      line += ';';
    } else {
      line += c;
    }
  }
  line += " event=" + std::string(record.event);
  for (const executor::LogField& field : record.fields) {
    line += ' ' + std::string(field.key) + '=' + quoted(field.value);
  }
  if (record.left_out != 0) line += " left_out=" + std::to_string(record.left_out);
  return line;
}

/// A sink that gives the logger every record, at its level. Shares the logger, which is thread-safe
/// if its sinks are (spdlog's _mt). Blocks and fails as they do.
///
///     auto logger = spdlog::stdout_color_mt("service");
///     streamgate::set_log_sink(streamgate::to_spdlog(logger));
[[nodiscard]] inline executor::LogSink to_spdlog(std::shared_ptr<spdlog::logger> logger) {
  return [logger = std::move(logger)](const executor::LogRecord& record) {
    constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                     spdlog::level::warn, spdlog::level::err};
    logger->log(kLevels[static_cast<int>(record.level)], "{}", to_log_line(record));
  };
}

}  // namespace streamgate
