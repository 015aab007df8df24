// SPDX-License-Identifier: Apache-2.0
//
// A folder of one test's own, and the ways in which people and tools put files in it.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace streamgate::testing {

/// A new, empty folder; gone with the object.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "streamgate_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder like " + name);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const {
    return path_ / name;
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
