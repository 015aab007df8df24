// SPDX-License-Identifier: Apache-2.0
#include <streamgate/policies/internal/whole_file.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <system_error>

namespace streamgate::policies::internal {
namespace {

namespace fs = std::filesystem;

std::string failure(int error) {
  std::string remedy = "check the path and its folder";
  if (error == ENOENT || error == ENOTDIR) remedy = "make the folder first, or choose another path";
  if (error == EACCES || error == EPERM || error == EROFS) {
    remedy = "choose a path in a folder that this user may write to";
  }
  if (error == ENOSPC || error == EDQUOT) remedy = "make room on that disk, or choose another path";
  return "cannot be written: " + std::error_code(error, std::generic_category()).message() +
         "; remedy: " + remedy;
}

/// A new file beside another; closed, and gone unless it was kept, at its end.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& beside) : name_(beside.string() + ".XXXXXX") {
    descriptor_ = ::mkstemp(name_.data());
  }
  ~TemporaryFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    if (!kept_) ::unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  [[nodiscard]] bool is_open() const noexcept { return descriptor_ >= 0; }

  /// All of it, as far as the disk. False leaves errno.
  [[nodiscard]] bool write(std::string_view text) const noexcept {
    while (!text.empty()) {
      const ssize_t written = ::write(descriptor_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return false;
      text.remove_prefix(static_cast<std::size_t>(written));
    }
    return ::fchmod(descriptor_, 0644) == 0 && ::fsync(descriptor_) == 0;
  }

  /// Puts it in the place of `file`. False leaves errno.
  [[nodiscard]] bool rename_to(const fs::path& file) noexcept {
    kept_ = std::rename(name_.c_str(), file.c_str()) == 0;
    return kept_;
  }

 private:
  std::string name_;
  int descriptor_ = -1;
  bool kept_ = false;
};

/// So that the new name is on the disk, too. A file system that cannot do that is not to blame: the
/// file is there.
void flush_folder(const fs::path& folder) noexcept {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  static_cast<void>(::fsync(descriptor));
  ::close(descriptor);
}

}  // namespace

std::string write_whole(const fs::path& file, std::string_view text) {
  std::error_code error;
  fs::path target = file;
  if (fs::is_symlink(file, error)) {
    target = fs::canonical(file, error);
    if (error) return failure(error.value());
  }
  // A rename would put a file in the place of a device, for whoever is allowed to.
  if (fs::exists(target, error) && !fs::is_regular_file(target, error)) {
    return "cannot be written: it is there, and no regular file; remedy: choose another path";
  }
  TemporaryFile temporary(target);
  if (!temporary.is_open() || !temporary.write(text) || !temporary.rename_to(target)) {
    return failure(errno);
  }
  flush_folder(target.has_parent_path() ? target.parent_path() : fs::path("."));
  return {};
}

}  // namespace streamgate::policies::internal
