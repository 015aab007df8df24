// SPDX-License-Identifier: Apache-2.0
//
// TorchScript files for tests, in a folder that ends with the test.
#pragma once

#include <torch/csrc/jit/api/module.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "../support/remove_folder.h"

namespace streamgate::testing {

class ModuleFiles {
 public:
  ModuleFiles()
      : folder_(std::filesystem::temp_directory_path() /
                ("streamgate_modules_" + std::to_string(getpid()) + "_" +
                 std::to_string(counter()++))) {
    std::filesystem::create_directories(folder_);
  }
  ~ModuleFiles() { remove_folder(folder_); }
  ModuleFiles(const ModuleFiles&) = delete;
  ModuleFiles& operator=(const ModuleFiles&) = delete;

  /// A module with that source, and what `prepare` adds before.
  std::filesystem::path save(
      const std::string& file, const std::string& source,
      const std::function<void(torch::jit::Module&)>& prepare = [](torch::jit::Module&) {}) {
    torch::jit::Module module("Root");
    prepare(module);
    module.define(source);
    module.save((folder_ / file).string());
    return folder_ / file;
  }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path write(const std::string& file, const std::string& content) {
    std::ofstream(folder_ / file, std::ios::binary) << content;
    return folder_ / file;
  }

 private:
  static int& counter() {
    static int count = 0;
    return count;
  }
  const std::filesystem::path folder_;
};

}  // namespace streamgate::testing
