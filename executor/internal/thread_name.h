// SPDX-License-Identifier: Apache-2.0
//
// The name that the operating system shows for the calling thread.
#pragma once

#include <string>

namespace streamgate::executor {

/// At most 15 characters count on Linux; longer names are cut.
void set_thread_name(const std::string& name) noexcept;
[[nodiscard]] std::string thread_name();

}  // namespace streamgate::executor
