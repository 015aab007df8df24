// SPDX-License-Identifier: Apache-2.0
//
// The process's CUDA, through libtorch's own context: never a second one beside it.
#include <streamgate/executor/internal/cuda_device.h>

#include <streamgate/executor/internal/log.h>

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <pthread.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace streamgate::executor::cuda {
namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // It was reported; libtorch must not report it again.
  throw std::runtime_error("streamgate: CUDA could not " + std::string(what) + ": " +
                           words_of(error));
}

/// Of the device's priorities, where a smaller number is more urgent and 0 is what others have.
int urgency(std::size_t level) {
  int least = 0;
  int greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "tell its priorities");
  return least + (greatest - least) * static_cast<int>(level) / static_cast<int>(kLevels - 1);
}

std::string version_of(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

/// libtorch's words end in a stack of addresses that help nobody here.
std::string first_line(const char* what) {
  const std::string text = what;
  return text.substr(0, text.find('\n'));
}

}  // namespace

std::string words_of(cudaError_t error) {
  return std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
}

Process& Process::instance() {
  static auto* const process = new Process;
  return *process;
}

const char* Process::refusal() const noexcept {
  if (exiting_.load(std::memory_order_relaxed)) {
    return "streamgate: main has returned, after which CUDA must not be called. Remedy: drain or "
           "destroy executors before main returns";
  }
  // Relaxed: a forked child has one thread, which has set it.
  if (forked_.load(std::memory_order_relaxed)) {
    return "streamgate: this process was forked from one that uses CUDA, where CUDA does not work. "
           "Remedy: start processes by posix_spawn or exec, never by fork alone";
  }
  return nullptr;
}

void Process::initialise(c10::DeviceIndex device) {
  if (const char* const why = refusal()) throw std::runtime_error(why);
  if (lost()) std::rethrow_exception(loss());
  // Before libtorch reads it, at its first matrix product. It keeps a workspace for each pair of a
  // thread and a stream that met, of 32 MiB on Hopper: 64 callers on 48 streams took all of 80 GiB
  // (docs/cuda.md). This is what it takes on other devices, 8 MiB; a service's own word stands.
  static_cast<void>(setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:2:16:8", 0));
  int devices = 0;
  try {
    devices = c10::cuda::device_count_ensure_non_zero();
  } catch (const std::exception& error) {
    throw std::runtime_error(
        "streamgate: libtorch finds no CUDA device: " + first_line(error.what()) +
        ". Remedy: an NVIDIA driver for CUDA " + version_of(CUDART_VERSION) +
        " or later that sees the device (nvidia-smi), or executor.backend = \"cpu\"");
  }
  if (device >= devices) {
    throw std::runtime_error("streamgate: cuda.device = " + std::to_string(device) +
                             ", but the CUDA devices that libtorch finds are 0.." +
                             std::to_string(devices - 1) +
                             ". Remedy: another number, or CUDA_VISIBLE_DEVICES");
  }
  try {
    // All that libtorch makes at first use is made here, before others come: the context, its
    // allocator, its generators; and one operation shows that this libtorch has code for the
    // device.
    const at::Tensor one = at::ones({1}, at::Device(at::kCUDA, device));
    if (one.item<float>() != 1.0F) throw std::runtime_error("1 is not 1 on it");
  } catch (const std::exception& error) {
    static_cast<void>(cudaGetLastError());
    throw std::runtime_error(
        "streamgate: CUDA device " + std::to_string(device) +
        " cannot run the simplest operation of this libtorch: " + first_line(error.what()) +
        ". Remedy: a libtorch that was built for this device and driver");
  }
  const std::lock_guard lock(mutex_);
  if (watched_) return;
  if (pthread_atfork(nullptr, nullptr, [] { instance().forked_ = true; }) != 0) {
    throw std::runtime_error("streamgate: no memory to be told of forks");
  }
  // After CUDA's own: what is registered last runs first.
  std::atexit([] { instance().exiting_ = true; });
  watched_ = true;
}

Queue Process::take(c10::DeviceIndex device, std::size_t level) {
  if (const char* const why = refusal()) throw std::runtime_error(why);
  const std::lock_guard lock(mutex_);
  // The last one first: what libtorch keeps for a stream is most likely still there.
  const auto found = std::find_if(free_.rbegin(), free_.rend(), [&](const Queue& queue) {
    // Its last owner may have gone while the device was at work.
    return queue.device == device && queue.level == level &&
           cudaStreamQuery(queue.stream) == cudaSuccess;
  });
  if (found != free_.rend()) {
    const Queue queue = *found;
    free_.erase(std::next(found).base());
    return queue;
  }
  Queue queue{.device = device, .level = level};
  check(cudaStreamCreateWithPriority(&queue.stream, cudaStreamNonBlocking, urgency(level)),
        "make a stream");
  return queue;
}

void Process::give_back(const Queue& queue) noexcept {
  if (refusal() != nullptr || lost()) return;
  const std::lock_guard lock(mutex_);
  try {
    free_.push_back(queue);
  } catch (...) {
    // No memory to remember it by: it is nobody's until the process ends.
  }
}

void Process::lose(cudaError_t error) noexcept {
  std::string what;
  std::unique_lock lock(mutex_);
  if (lost()) return;
  try {
    what = "the CUDA context of this process is lost: " + words_of(error) +
           ". Every task on it fails from now on. Remedy: restart the process; "
           "CUDA_LAUNCH_BLOCKING=1 shows which operation it was";
    loss_ = std::make_exception_ptr(std::runtime_error("streamgate: " + what));
  } catch (...) {
    loss_ = std::current_exception();
  }
  // Release: pairs with lost's acquire.
  lost_.store(true, std::memory_order_release);
  lock.unlock();
  log_each(LogLevel::kError, "cuda_context_lost", what);
}

bool Process::lives() noexcept {
  const cudaError_t state = cudaDeviceSynchronize();
  if (state != cudaSuccess) lose(state);
  return !lost();
}

std::exception_ptr Process::loss() const noexcept { return lost() ? loss_ : nullptr; }

std::string device_name(c10::DeviceIndex device) {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return {};
  }
  std::array<char, 64> rest{};
  static_cast<void>(std::snprintf(rest.data(), rest.size(), ", %.1f GiB, sm_%d%d",
                                  static_cast<double>(properties.totalGlobalMem) / (1U << 30U),
                                  properties.major, properties.minor));
  return properties.name + std::string(rest.data());
}

std::optional<DeviceMemory> memory_of(c10::DeviceIndex device) noexcept {
  c10::DeviceIndex before = 0;
  if (c10::cuda::GetDevice(&before) != cudaSuccess) return std::nullopt;
  if (before != device && c10::cuda::SetDevice(device) != cudaSuccess) return std::nullopt;
  std::size_t free = 0;
  std::size_t total = 0;
  const cudaError_t asked = cudaMemGetInfo(&free, &total);
  if (before != device) static_cast<void>(c10::cuda::SetDevice(before));
  if (asked != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // Not libtorch's to report.
    return std::nullopt;
  }
  try {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device);
    // The first of each is the sum over both of the allocator's pools.
    const auto held = static_cast<std::size_t>(stats.allocated_bytes[0].current);
    const auto kept = static_cast<std::size_t>(stats.reserved_bytes[0].current);
    return DeviceMemory{.total = total, .free = free + (kept - held), .held = held};
  } catch (const std::exception&) {
    return std::nullopt;  // Another allocator than libtorch's own, which keeps no such account.
  }
}

std::string driver_name() {
  std::string name;
  // "NVRM version: NVIDIA UNIX ... Module  580.159.04  Release Build ...": the first word that
  // begins with a digit.
  std::ifstream file("/proc/driver/nvidia/version");
  for (std::string word; name.empty() && file >> word;) {
    if (word.front() >= '0' && word.front() <= '9') name = word + ", ";
  }
  int driver = 0;
  int runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return {};
  static_cast<void>(cudaRuntimeGetVersion(&runtime));
  return name + "CUDA " + version_of(driver) + ", runtime " + version_of(runtime);
}

void pin(std::span<std::byte> memory) noexcept {
  if (cudaHostRegister(memory.data(), memory.size(), cudaHostRegisterDefault) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // Not libtorch's to report.
  }
}

}  // namespace streamgate::executor::cuda
