// SPDX-License-Identifier: Apache-2.0
//
// The commit of a libtorch is told from what lies beside it, and not invented.
#include <streamgate/executor/internal/torch_library.h>

#include <gtest/gtest.h>

#include <filesystem>

#include "temporary_folder.h"

namespace streamgate::executor {
namespace {

using tools::TemporaryFolder;

constexpr const char* kHash = "49444c3e546bf240bed24a101e747422d1f8a0ee";

TEST(TorchGitHash, IsReadFromLibtorchsArchive) {
  const TemporaryFolder folder;
  folder.write("build-hash", std::string(kHash) + "\n");
  EXPECT_EQ(torch_git_hash_beside(folder.path() / "lib" / "libtorch_cpu.so"), kHash);
}

TEST(TorchGitHash, IsReadFromPythonsPackage) {
  const TemporaryFolder folder;
  folder.write("version.py", "__version__ = '2.6.0'\ngit_version = '" + std::string(kHash) + "'\n");
  EXPECT_EQ(torch_git_hash_beside(folder.path() / "lib" / "libtorch_cpu.so"), kHash);
}

TEST(TorchGitHash, IsEmptyRatherThanInvented) {
  const TemporaryFolder folder;
  const std::filesystem::path library = folder.path() / "lib" / "libtorch_cpu.so";
  EXPECT_EQ(torch_git_hash_beside(library), "");
  folder.write("build-hash", "Unknown\n");
  folder.write("version.py", "git_version = 'Unknown'\ngit_version\n");
  EXPECT_EQ(torch_git_hash_beside(library), "");
}

TEST(TorchSetting, IsEmptyWhenThereIsNone) {
  EXPECT_EQ(loaded_torch_setting("STREAMGATE_NO_SUCH_SETTING"), "");
  EXPECT_NE(loaded_torch_setting("BUILD_TYPE"), "");
}

TEST(TorchPath, IsAFileAndNotAmongTheOthers) {
  EXPECT_TRUE(std::filesystem::exists(loaded_torch_path()));
  for (const std::filesystem::path& other : other_torch_paths()) {
    EXPECT_FALSE(std::filesystem::equivalent(other, loaded_torch_path())) << other;
  }
}

}  // namespace
}  // namespace streamgate::executor
