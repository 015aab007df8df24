// SPDX-License-Identifier: Apache-2.0
//
// The commit of a libtorch is told from what lies beside it, and not invented; its builds are told
// apart.
#include <streamgate/executor/internal/build_id.h>
#include <streamgate/executor/internal/torch_library.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iomanip>
#include <ios>
#include <sstream>
#include <string>

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

TEST(TorchIdentity, TellsBuildsOfOneVersionApart) {
  EXPECT_EQ(torch_identity("2.6.0", "", ""), "2.6.0");
  EXPECT_EQ(torch_identity("2.6.0", "", kHash),
            "2.6.0 (build " + std::string(kHash).substr(0, 12) + ")");
  // The build id goes first: one commit may be built in many ways.
  EXPECT_EQ(torch_identity("2.6.0", "0123456789abcdef", kHash), "2.6.0 (build 0123456789ab)");
  EXPECT_EQ(torch_identity("2.6.0", "0123", ""), "2.6.0 (build 0123)");
}

TEST(TorchIdentity, OfTheLoadedLibraryBeginsWithItsVersion) {
  const std::string identity = loaded_torch_identity();
  EXPECT_TRUE(identity.starts_with(loaded_torch_version())) << identity;
  EXPECT_EQ(identity, loaded_torch_identity());
}

#if defined(__linux__)
/// The build id as the file holds it; empty when it is not near its beginning, where linkers put
/// it.
std::string build_id_in_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string bytes(1 << 16, '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  // The note's header: name of 4 bytes, description of 20, type 3; then the name.
  const std::string header("\4\0\0\0\24\0\0\0\3\0\0\0GNU\0", 16);
  const std::size_t at = bytes.find(header);
  if (at == bytes.npos) return {};
  std::ostringstream text;
  for (const char c : bytes.substr(at + header.size(), 20)) {
    text << std::hex << std::setw(2) << std::setfill('0')
         << static_cast<unsigned>(static_cast<unsigned char>(c));
  }
  return text.str();
}

TEST(TorchIdentity, HasTheBuildIdOfTheFileThatWasLoaded) {
  const std::string in_file = build_id_in_file(loaded_torch_path());
  if (in_file.empty()) GTEST_SKIP() << "this libtorch has no build id in its first pages";
  EXPECT_EQ(loaded_torch_identity(),
            loaded_torch_version() + " (build " + in_file.substr(0, 12) + ")");
}
#endif

TEST(BuildId, IsEmptyOutsideOfEveryLibrary) {
  const int on_the_stack = 0;
  EXPECT_EQ(build_id_of(&on_the_stack), "");
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
