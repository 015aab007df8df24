// SPDX-License-Identifier: Apache-2.0
//
// Waits until one of a few files may have new content. It watches the folders that the files are
// in, since editors and deployment tools put a new file in the old one's place; what is in the
// files is the caller's business. The one place that knows how an operating system tells of files.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace streamgate::executor {

/// Where the files are watched: a file is reported when it was written and closed, when another was
/// renamed to its name, or when a link on the way to it leads elsewhere. A file that vanishes is no
/// news, as its successor will be. Changes that another machine makes on a network file system are
/// not seen.
///
/// Thread-safety: wake is thread-safe and async-signal-safe; the rest is confined to one thread.
/// Ownership: of its descriptors. Blocking: wait. Failure: where the system offers no way to be
/// told (not Linux, or no inotify to be had), it looks at the files four times a second, and
/// reports one that has changed and then stayed as it is for one look; the constructor throws
/// std::system_error when not even a pipe can be had.
class FileWatch {
 public:
  /// How the files are watched; kLook is for systems that cannot tell, and for tests of that.
  enum class Way : std::uint8_t { kAuto, kLook };

  explicit FileWatch(std::vector<std::filesystem::path> files, Way way = Way::kAuto);
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  /// Ends a wait, the present one or the next.
  void wake() noexcept;

  enum class Reason : std::uint8_t { kChanged, kWoken };
  /// Blocks until a file may have changed, or wake was called.
  /// ENSURES: a change after the return is reported by the next wait.
  [[nodiscard]] Reason wait();

  /// Between two looks.
  static constexpr std::chrono::milliseconds kLookEvery{250};

 private:
  /// What tells one state of a file from another without reading it.
  struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = 0;
    std::int64_t modified_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  /// A name on the way to a file: the file's own in its folder, or that of a link.
  struct Name {
    int watch = -1;  ///< The system's, of the folder that the name is in.
    std::filesystem::path path;
    [[nodiscard]] bool is(int folder, std::string_view name) const {
      return watch == folder && path.filename() == name;
    }
  };
  struct File {
    std::filesystem::path path;
    std::vector<Name> names{};
    std::optional<Stamp> reported{};  ///< As the caller has, or will have, seen it.
    std::optional<Stamp> looked{};    ///< As the last look found it.
  };

  [[nodiscard]] static std::optional<Stamp> stamp_of(const std::filesystem::path& path) noexcept;
  void arm();
  [[nodiscard]] std::vector<Name> names_of(const std::filesystem::path& file);
  [[nodiscard]] bool look() noexcept;
  [[nodiscard]] bool read_news();
  [[nodiscard]] bool is_news(std::uint32_t mask, int folder, std::string_view name) const;

  std::vector<File> files_;
  std::vector<int> watches_;  ///< Those of the system that there are.
  int told_ = -1;             ///< The system's descriptor; -1: looks instead.
  bool covered_ = false;      ///< Whether every name of every file is watched.
  bool unsettled_ = false;    ///< Whether the last look found a change that may go on.
  int wake_read_ = -1;
  int wake_write_ = -1;
};

}  // namespace streamgate::executor
