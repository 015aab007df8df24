// SPDX-License-Identifier: Apache-2.0
#include "request_log.h"

#include <streamgate/spdlog.h>

#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <chrono>
#include <string>

namespace inference_server {
namespace {

/// Lines that may wait for the writing thread; beyond, the oldest go.
constexpr std::size_t kLinesWaiting = 8'192;

double milliseconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

void RequestLog::on_task_end(const streamgate::TaskRecord& task) noexcept {
  if (!task.trace || !task.trace->sampled()) return;
  try {
    const bool ran = task.started != streamgate::TaskRecord::Time{};
    const auto waited = (ran ? task.started : task.completed) - task.submitted;
    logger_->info(
        "a traced request ended event=request traceparent={} outcome={} wait_ms={:.3f} "
        "encode_ms={:.3f} run_ms={:.3f}",
        task.trace->to_string(), std::string(to_string(task.outcome)), milliseconds(waited),
        ran ? milliseconds(task.encoded - task.started) : 0.0,
        ran ? milliseconds(task.completed - task.started) : 0.0);
  } catch (...) {
    // No memory for a line.
  }
}

std::shared_ptr<spdlog::logger> open_log(const std::string& level) {
  const auto least = spdlog::level::from_str(level);
  // from_str takes what it does not know for "off".
  if (least == spdlog::level::off && level != "off") {
    throw spdlog::spdlog_ex("there is no log level " + level +
                            "; there is trace, debug, info, warning, error, critical and off");
  }
  spdlog::init_thread_pool(kLinesWaiting, 1);
  auto logger = spdlog::create_async_nb<spdlog::sinks::stderr_sink_mt>("inference_server");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  logger->set_level(least);
  logger->flush_on(spdlog::level::info);
  streamgate::set_log_sink(streamgate::to_spdlog(logger));
  return logger;
}

}  // namespace inference_server
