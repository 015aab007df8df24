// SPDX-License-Identifier: Apache-2.0
//
// A folder of one's own that goes with its owner.
#pragma once

#include <stdlib.h>
#ifdef __APPLE__
#include <unistd.h>
#endif

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

namespace digits {

/// Makes a fresh folder, and removes it and what is in it. Confined to one thread. The constructor
/// throws std::filesystem::filesystem_error.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "streamgate-digits-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw std::filesystem::filesystem_error(
          "cannot make a temporary folder; TMPDIR may name another "
          "place for it",
          name, {errno, std::generic_category()});
    }
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace digits
