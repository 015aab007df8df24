// SPDX-License-Identifier: Apache-2.0
//
// docs/metrics.md, made from the table of metrics so that the two cannot drift apart.
#pragma once

#include <string>

namespace streamgate::metrics::internal {

/// The whole text of docs/metrics.md.
[[nodiscard]] std::string metrics_markdown();

}  // namespace streamgate::metrics::internal
