// SPDX-License-Identifier: Apache-2.0
//
// inotify on Linux, looks elsewhere. kqueue, which macOS has, tells of a folder's entries but not
// of writes to a file in it unless that file is held open; a look each quarter of a second costs
// less than the care for those descriptors. Whoever wants it there anyway adds it here: to the four
// functions at the top, and nothing else changes.
#include <streamgate/executor/internal/file_watch.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/inotify.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace streamgate::executor {
namespace {

namespace fs = std::filesystem;

/// As many links as Linux follows.
constexpr int kLongestChain = 40;

#ifdef __linux__
// Not IN_MODIFY: a file that is being written is not yet the file that was meant; empty, as every
// file is that is written in place, it would be the default config.
constexpr std::uint32_t kNews = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE;
constexpr std::uint32_t kFolderGone = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED;

int open_notifier() noexcept { return ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK); }
int watch_folder(int notifier, const fs::path& folder) noexcept {
  return ::inotify_add_watch(notifier, folder.c_str(),
                             kNews | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
}
void unwatch_folder(int notifier, int folder) noexcept {
  static_cast<void>(::inotify_rm_watch(notifier, folder));
}
/// Calls with mask, folder and name of each event that is there.
template <typename F>
void for_each_event(int notifier, F&& call) {
  alignas(inotify_event) std::array<char, 16'384> buffer{};
  for (;;) {
    const ssize_t got = ::read(notifier, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
      inotify_event event;
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      const char* const name = buffer.data() + at + sizeof(event);
      call(event.mask, event.wd, std::string_view(name, ::strnlen(name, event.len)));
      at += sizeof(event) + event.len;
    }
  }
}
#else
constexpr std::uint32_t IN_Q_OVERFLOW = 1, IN_CREATE = 2, kFolderGone = 4;
int open_notifier() noexcept { return -1; }
int watch_folder(int, const fs::path&) noexcept { return -1; }
void unwatch_folder(int, int) noexcept {}
template <typename F>
void for_each_event(int, F&&) {}
#endif

bool is_link(const fs::path& path) noexcept {
  std::error_code error;
  return fs::is_symlink(path, error);
}

}  // namespace

FileWatch::FileWatch(std::vector<fs::path> files, Way way) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) {
    throw std::system_error(errno, std::generic_category(), "no pipe to watch files with");
  }
  for (const int end : ends) {
    ::fcntl(end, F_SETFD, FD_CLOEXEC);
    // A full pipe wakes as well as one more byte would; a signal's handler must not block on it.
    ::fcntl(end, F_SETFL, O_NONBLOCK);
  }
  wake_read_ = ends[0];
  wake_write_ = ends[1];
  if (way == Way::kAuto) told_ = open_notifier();
  for (fs::path& file : files) files_.push_back({.path = std::move(file)});
  arm();
  for (File& file : files_) file.looked = file.reported = stamp_of(file.path);
}

FileWatch::~FileWatch() {
  for (const int descriptor : {told_, wake_read_, wake_write_}) {
    if (descriptor >= 0) ::close(descriptor);
  }
}

void FileWatch::wake() noexcept {
  const int error = errno;
  const char byte = 0;
  static_cast<void>(!::write(wake_write_, &byte, 1));
  errno = error;
}

FileWatch::Reason FileWatch::wait() {
  for (;;) {
    std::array<pollfd, 2> polled{pollfd{wake_read_, POLLIN, 0}, pollfd{told_, POLLIN, 0}};
    const bool looks = !covered_ || unsettled_;
    const int timeout = looks ? static_cast<int>(kLookEvery.count()) : -1;
    const int ready = ::poll(polled.data(), polled.size(), timeout);
    if (ready < 0) continue;  // A signal; its handler may have written to the pipe.
    bool changed = polled[1].revents != 0 && read_news();
    if (looks) {
      // A folder that was not there may have come, with a file of which nothing will be told.
      arm();
      changed = look() || changed;
    }
    if (changed) return Reason::kChanged;
    if (polled[0].revents != 0) {
      std::array<char, 64> bytes{};
      while (::read(wake_read_, bytes.data(), bytes.size()) > 0) {
      }
      return Reason::kWoken;
    }
  }
}

std::optional<FileWatch::Stamp> FileWatch::stamp_of(const fs::path& path) noexcept {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
#ifdef __APPLE__
  const timespec modified = status.st_mtimespec;
#else
  const timespec modified = status.st_mtim;
#endif
  return Stamp{.device = static_cast<std::uint64_t>(status.st_dev),
               .inode = static_cast<std::uint64_t>(status.st_ino),
               .size = static_cast<std::int64_t>(status.st_size),
               .modified_ns = std::int64_t{modified.tv_sec} * 1'000'000'000 + modified.tv_nsec};
}

/// Watches the folders as they are now, and no others.
void FileWatch::arm() {
  covered_ = told_ >= 0;
  if (told_ < 0) return;
  std::vector<int> watches;
  for (File& file : files_) {
    file.names = names_of(file.path);
    for (const Name& name : file.names) watches.push_back(name.watch);
  }
  for (const int old : watches_) {
    if (std::find(watches.begin(), watches.end(), old) == watches.end()) {
      unwatch_folder(told_, old);
    }
  }
  watches_ = std::move(watches);
}

/// Goes the way to the file as the system does, name by name, over links in its folders, too.
std::vector<FileWatch::Name> FileWatch::names_of(const fs::path& file) {
  std::error_code error;
  const fs::path absolute = fs::absolute(file, error);
  std::vector<fs::path> left(absolute.begin(), absolute.end());
  std::reverse(left.begin(), left.end());
  std::vector<Name> names;
  fs::path folder = "/";
  for (int links = 0; !left.empty();) {
    const fs::path part = std::exchange(left.back(), {});
    left.pop_back();
    if (part.empty() || part == "." || part == "/") continue;
    if (part == "..") {
      folder = folder.parent_path();
      continue;
    }
    const fs::path path = folder / part;
    const bool link = is_link(path);
    if (link || left.empty()) {
      const int watch = watch_folder(told_, folder);
      if (watch >= 0) names.push_back({.watch = watch, .path = path});
      if (watch < 0 || ++links > kLongestChain) covered_ = false;
    }
    if (!link) {
      folder = path;
      continue;
    }
    const fs::path target = fs::read_symlink(path, error);
    if (links > kLongestChain) return names;
    if (target.is_absolute()) folder = "/";
    std::vector<fs::path> parts(target.begin(), target.end());
    left.insert(left.end(), parts.rbegin(), parts.rend());
  }
  return names;
}

/// Whether a file has changed since it was reported, and not since the last look.
bool FileWatch::look() noexcept {
  bool changed = false;
  unsettled_ = false;
  for (File& file : files_) {
    const std::optional<Stamp> now = stamp_of(file.path);
    if (now && now == file.looked && now != file.reported) {
      file.reported = now;
      changed = true;
    }
    file.looked = now;
    unsettled_ = unsettled_ || (now && now != file.reported);
  }
  return changed;
}

bool FileWatch::read_news() {
  bool changed = false;
  bool folders_changed = false;
  for_each_event(told_, [&](std::uint32_t mask, int folder, std::string_view name) {
    folders_changed = folders_changed || (mask & kFolderGone) != 0;
    changed = is_news(mask, folder, name) || changed;
  });
  // Before the caller reads the files: what changes after this is told again.
  if (changed || folders_changed) arm();
  if (changed) {
    for (File& file : files_) file.looked = file.reported = stamp_of(file.path);
    unsettled_ = false;
  }
  return changed;
}

bool FileWatch::is_news(std::uint32_t mask, int folder, std::string_view name) const {
  if ((mask & IN_Q_OVERFLOW) != 0) return true;
  if ((mask & kFolderGone) != 0) return false;
  for (const File& file : files_) {
    for (const Name& known : file.names) {
      // A file that was just made is empty: its writer will close it. A link is whole at once.
      if (known.is(folder, name) && ((mask & IN_CREATE) == 0 || is_link(known.path))) return true;
    }
  }
  return false;
}

}  // namespace streamgate::executor
