// SPDX-License-Identifier: Apache-2.0
//
// docs/config.md, made from the table of config keys so that the two cannot drift apart.
#pragma once

#include <string>

namespace streamgate::tools {

/// The whole text of docs/config.md.
[[nodiscard]] std::string config_markdown();

}  // namespace streamgate::tools
