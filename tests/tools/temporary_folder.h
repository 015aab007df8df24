// SPDX-License-Identifier: Apache-2.0
//
// A folder for the files of one test.
#pragma once

#include <filesystem>
#include <string_view>

namespace streamgate::tools {

/// Removes itself with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// Writes a file, making the folders in between, and returns its path.
  std::filesystem::path write(const std::filesystem::path& name, std::string_view content) const;

 private:
  std::filesystem::path path_;
};

}  // namespace streamgate::tools
