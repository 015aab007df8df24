// SPDX-License-Identifier: Apache-2.0
//
// A folder for the files of one test, and the ways in which people and tools put files in it.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "remove_folder.h"

namespace streamgate::testing {

/// Removes itself with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = std::filesystem::temp_directory_path() / "streamgate-test-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = std::filesystem::canonical(name);
  }
  ~TemporaryFolder() { remove_folder(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const {
    return path_ / name;
  }

  /// Writes a file, making the folders in between, and returns its path.
  std::filesystem::path write(const std::filesystem::path& name, std::string_view content) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    if (!(std::ofstream(file, std::ios::binary) << content << std::flush)) {
      throw std::runtime_error("cannot write " + file.string());
    }
    return file;
  }

 private:
  std::filesystem::path path_;
};

/// As echo does: over what is there.
inline void write_in_place(const std::filesystem::path& file, std::string_view text) {
  std::ofstream(file, std::ios::trunc | std::ios::binary) << text;
}

/// As editors and package managers do: a new file beside it, renamed.
inline void write_by_rename(const std::filesystem::path& file, std::string_view text) {
  const std::filesystem::path beside = file.string() + ".new";
  write_in_place(beside, text);
  std::filesystem::rename(beside, file);
}

}  // namespace streamgate::testing
