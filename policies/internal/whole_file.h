// SPDX-License-Identifier: Apache-2.0
//
// Writes a file whole or not at all: whoever reads it sees the old text or the new one, also after
// a crash. What is in it is the caller's business.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace streamgate::policies::internal {

/// Replaces the file by one with this text, readable by all (0644): a temporary file beside it,
/// flushed to the disk and renamed. A link is followed. Empty when done; else what went wrong and
/// the remedy, and then the old file is as it was and nothing else is left behind. Blocks for the
/// disk.
[[nodiscard]] std::string write_whole(const std::filesystem::path& file, std::string_view text);

}  // namespace streamgate::policies::internal
