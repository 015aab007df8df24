// SPDX-License-Identifier: Apache-2.0
#include "doctor/workers.h"

#if defined(__linux__)
#include <streamgate/executor/internal/descriptor.h>
#include <streamgate/executor/workers/channel.h>
#include <streamgate/executor/workers/shared_memory.h>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <system_error>
#endif

namespace streamgate::tools {

#if defined(__linux__)
namespace {

/// The daemon has a pipe of that name in a folder that its users must know.
bool cuda_daemon_runs() {
  const char* const folder = std::getenv("CUDA_MPS_PIPE_DIRECTORY");
  std::error_code error;
  return std::filesystem::exists(
      std::filesystem::path(folder != nullptr ? folder : "/tmp/nvidia-mps") / "control", error);
}

}  // namespace

WorkerFacts find_workers() {
  WorkerFacts facts;
  facts.cuda_daemon = cuda_daemon_runs();
  try {
    const executor::Channel channel =
        executor::Channel::create({.host_arena_bytes = 1 << 20, .worker_arena_bytes = 1 << 20});
    const executor::Descriptor process(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
    if (!process) throw std::system_error(errno, std::generic_category(), "pidfd_open");
  } catch (const std::exception& error) {
    facts.error = error.what();
  }
  facts.available_bytes = executor::available_shared_bytes();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) facts.max_descriptors = limit.rlim_cur;
  return facts;
}
#else
WorkerFacts find_workers() { return {.error = "there are no workers on this system"}; }
#endif

}  // namespace streamgate::tools
