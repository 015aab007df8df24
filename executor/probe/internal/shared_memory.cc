// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/internal/shared_memory.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace streamgate::executor::probe {
namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int anonymous() {
#if defined(__linux__)
  return memfd_create("streamgate-probe", MFD_CLOEXEC);
#else
  // macOS has no memory without a name: a name of this process alone, gone at once.
  const std::string name = "/streamgate-probe-" + std::to_string(getpid());
  const int descriptor = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  if (descriptor >= 0) shm_unlink(name.c_str());
  return descriptor;
#endif
}

}  // namespace

int make_shared(std::size_t size) {
  const int descriptor = anonymous();
  if (descriptor < 0) fail("cannot make shared memory for a trial");
  if (ftruncate(descriptor, static_cast<off_t>(size)) != 0) {
    const int error = errno;
    close(descriptor);
    errno = error;
    fail("cannot size the shared memory of a trial");
  }
  return descriptor;
}

void* map_shared(int descriptor, std::size_t size) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) fail("the board of the trial is not open");
  if (static_cast<std::size_t>(status.st_size) < size) {
    errno = EINVAL;
    fail("the board of the trial is too small: parent and child are of different builds");
  }
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) fail("cannot map the board of a trial");
  return memory;
}

void unmap_shared(void* memory, std::size_t size) noexcept { munmap(memory, size); }

}  // namespace streamgate::executor::probe
