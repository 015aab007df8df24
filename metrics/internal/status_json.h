// SPDX-License-Identifier: Apache-2.0
//
// One executor's state as JSON: what the status page draws and `streamgate top` prints. The fields
// are described in docs/top.md, which a test holds against this.
#pragma once

#include <streamgate/metrics/collector.h>
#include <streamgate/metrics/internal/history.h>

#include <chrono>
#include <string>
#include <vector>

namespace streamgate::metrics::internal {

struct StatusSource {
  const Collector::Seen& executor;
  const History& history;
};

/// Something that an operator should know, in words for people. The id is stable.
struct StatusWarning {
  std::string id;
  std::string text;
};

[[nodiscard]] std::vector<StatusWarning> warnings_of(const executor::Snapshot& snapshot);

/// One line. Text that is not UTF-8 is replaced, so that it always is JSON.
[[nodiscard]] std::string status_json(const std::vector<StatusSource>& sources,
                                      executor::Clock::time_point now,
                                      std::chrono::system_clock::time_point date);

}  // namespace streamgate::metrics::internal
