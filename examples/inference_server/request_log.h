// SPDX-License-Identifier: Apache-2.0
//
// What the server writes to its log: the library's records and its own, and a line for each traced
// request with the times of its stages. Where a service sends spans to a collector, it does so
// here.
#pragma once

#include <streamgate/executor.h>

#include <spdlog/logger.h>

#include <memory>

namespace inference_server {

/// Writes a line for each task of a request whose caller has sampled it (the header traceparent).
/// Thread-safe. Shares the logger, which is asynchronous: a task's end does not wait for a disk.
class RequestLog final : public streamgate::TaskObserver {
 public:
  explicit RequestLog(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}
  void on_task_end(const streamgate::TaskRecord& task) noexcept override;

 private:
  std::shared_ptr<spdlog::logger> logger_;
};

/// The log of this program on stderr, which the library writes to from then on. Throws
/// spdlog::spdlog_ex for a level that there is none of.
[[nodiscard]] std::shared_ptr<spdlog::logger> open_log(const std::string& level);

}  // namespace inference_server
