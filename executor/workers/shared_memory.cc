// SPDX-License-Identifier: Apache-2.0
//
// memfd, reserved, sealed and mapped.
#include <streamgate/executor/workers/shared_memory.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace streamgate::executor {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

[[noreturn]] void fail(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

/// The number in a file that has one; nothing for "max" or without the file.
std::optional<std::size_t> number_in(const char* file) {
  std::ifstream stream(file);
  std::size_t number = 0;
  if (!(stream >> number)) return std::nullopt;
  return number;
}

/// Of a file with a name and a number in each line; 0 for a name that is not there.
std::size_t number_of(const char* file, std::string_view wanted) {
  std::ifstream stream(file);
  std::string name;
  for (std::size_t number = 0; stream >> name >> number;) {
    if (name == wanted) return number;
    stream.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

}  // namespace

std::size_t available_shared_bytes() {
  const std::size_t kibibytes = number_of("/proc/meminfo", "MemAvailable:");
  const std::size_t available = kibibytes == 0 ? SIZE_MAX : kibibytes * 1024;
  const auto most = number_in("/sys/fs/cgroup/memory.max");
  const auto now = number_in("/sys/fs/cgroup/memory.current");
  if (!most || !now) return available;
  // Pages of files are counted as used, and given up when they are needed; shared memory is not.
  const char* const stat = "/sys/fs/cgroup/memory.stat";
  const std::size_t files = number_of(stat, "file");
  const std::size_t shared = number_of(stat, "shmem");
  const std::size_t kept = *now - std::min(*now, files - std::min(files, shared));
  return std::min(available, *most - std::min(*most, kept));
}

SharedMemory SharedMemory::create(std::size_t bytes) {
  assert(bytes > 0);
  if (bytes > available_shared_bytes()) fail(ENOMEM, "shared memory: there is not so much left");
  Descriptor descriptor(memfd_create("streamgate", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!descriptor) fail(errno, "shared memory: memfd_create");
  if (ftruncate(descriptor.get(), static_cast<off_t>(bytes)) != 0) {
    fail(errno, "shared memory: ftruncate");
  }
  int error = 0;
  do {
    error = posix_fallocate(descriptor.get(), 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  if (error != 0) fail(error, "shared memory: reserving its pages");
  if (fcntl(descriptor.get(), F_ADD_SEALS, kSeals) != 0) fail(errno, "shared memory: F_ADD_SEALS");
  return {std::move(descriptor), bytes};
}

SharedMemory SharedMemory::adopt(Descriptor descriptor) {
  const int seals = fcntl(descriptor.get(), F_GET_SEALS);
  if (seals < 0) fail(errno, "shared memory: the descriptor is not of shared memory");
  if ((seals & kSeals) != kSeals) fail(EINVAL, "shared memory: its size is not sealed");
  struct stat about {};
  if (fstat(descriptor.get(), &about) != 0) fail(errno, "shared memory: fstat");
  if (about.st_size <= 0) fail(EINVAL, "shared memory: it is empty");
  if (fcntl(descriptor.get(), F_SETFD, FD_CLOEXEC) != 0) fail(errno, "shared memory: FD_CLOEXEC");
  return {std::move(descriptor), static_cast<std::size_t>(about.st_size)};
}

SharedMemory::SharedMemory(Descriptor descriptor, std::size_t bytes)
    : descriptor_(std::move(descriptor)), bytes_(bytes) {
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_.get(), 0);
  if (data == MAP_FAILED) fail(errno, "shared memory: mmap");
  data_ = static_cast<std::byte*>(data);
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : descriptor_(std::move(other.descriptor_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace streamgate::executor
