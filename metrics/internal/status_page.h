// SPDX-License-Identifier: Apache-2.0
//
// The status page as it was when this was built: metrics/page, put together by
// cmake/StreamgatePage.cmake.
#pragma once

#include <string_view>

namespace streamgate::metrics::internal {

[[nodiscard]] std::string_view status_page() noexcept;

}  // namespace streamgate::metrics::internal
