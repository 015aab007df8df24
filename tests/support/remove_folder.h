// SPDX-License-Identifier: Apache-2.0
//
// Removes a folder with all that is in it, without std::filesystem::remove_all: Python's packages
// of libtorch from 2.5 on export parts of another libstdc++ (pytorch#133437), and remove_all of a
// program that has one loaded ends it by SIGSEGV (seen with 2.11 and g++ 13.3).
#pragma once

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include <filesystem>

namespace streamgate::testing {

/// What cannot be removed is left.
inline void remove_folder(const std::filesystem::path& folder) noexcept {
  constexpr int kDescriptors = 16;
  static_cast<void>(::nftw(
      folder.c_str(),
      [](const char* path, const struct stat*, int, struct FTW*) {
        static_cast<void>(::remove(path));
        return 0;
      },
      kDescriptors, FTW_DEPTH | FTW_PHYS));
}

}  // namespace streamgate::testing
