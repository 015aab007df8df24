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
#include <optional>
#include <string>
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

/// What the machine, and the control group whose root is seen here, can still give. The kernel does
/// not say no when the pages of such memory are reserved: it kills processes, ours perhaps.
std::size_t available_bytes() {
  std::size_t available = SIZE_MAX;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string name, rest; meminfo >> name; std::getline(meminfo, rest)) {
    std::size_t kibibytes = 0;
    if (name == "MemAvailable:" && meminfo >> kibibytes) available = kibibytes * 1024;
  }
  const auto most = number_in("/sys/fs/cgroup/memory.max");
  const auto now = number_in("/sys/fs/cgroup/memory.current");
  if (most && now) available = std::min(available, *most > *now ? *most - *now : 0);
  return available;
}

}  // namespace

SharedMemory SharedMemory::create(std::size_t bytes) {
  assert(bytes > 0);
  if (bytes > available_bytes()) fail(ENOMEM, "shared memory: there is not so much left");
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
