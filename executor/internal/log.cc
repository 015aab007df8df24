// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/internal/log.h>

#include <cstdio>

namespace streamgate::executor {

void log_line(std::string_view text) noexcept {
  // stdio locks the stream for the call, and stderr is not buffered beyond it.
  std::fprintf(stderr, "streamgate: %.*s\n", static_cast<int>(text.size()), text.data());
}

}  // namespace streamgate::executor
