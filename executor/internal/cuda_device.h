// SPDX-License-Identifier: Apache-2.0
//
// What all executors on CUDA share in one process: whether the device may still be called, streams
// that nobody else has, and words for what went wrong. Whose task runs on a stream, and when it is
// done, is the backend's.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace streamgate::executor::cuda {

/// Streams that a slot may have, by urgency: most, half of what the device has, all of it.
inline constexpr std::size_t kLevels = 3;

/// How often a waiting thread asks the driver, and how long it keeps its core to itself.
inline constexpr std::chrono::microseconds kBetweenQuestions{1};
inline constexpr std::chrono::microseconds kBeforeYield{20};

/// A device queue and the urgency that it was made with. Made once, kept until the process ends.
struct Queue {
  cudaStream_t stream = nullptr;
  c10::DeviceIndex device = 0;
  std::size_t level = 0;
};

/// "an illegal memory access was encountered (cudaErrorIllegalAddress)".
[[nodiscard]] std::string words_of(cudaError_t error);

/// The CUDA of this process.
///
/// Thread-safe. Never destroyed: destructors that run after main must not find it gone, nor call
/// CUDA, which takes itself down at exit.
class Process {
 public:
  static Process& instance();

  /// Why the device must not be called; null when it may.
  [[nodiscard]] const char* refusal() const noexcept;

  /// Makes the device ready on the calling thread. Throws std::runtime_error that says what is
  /// wrong and the remedy: no device, no such device, a driver that is too old for this libtorch, a
  /// device on which nothing can run.
  void initialise(c10::DeviceIndex device);

  /// A queue that nobody else in this process has, whoever uses libtorch's own pool: it hands its
  /// 32 out in turn, so that its 33rd is its 1st again (facts.md 2), and to everybody who asks.
  [[nodiscard]] Queue take(c10::DeviceIndex device, std::size_t level);
  /// For another executor, once the device is done with it.
  void give_back(const Queue& queue) noexcept;

  /// An error that a call of CUDA returned for work of an earlier one: the context is lost, and all
  /// that runs on the device with it. Said once on stderr.
  void lose(cudaError_t error) noexcept;
  [[nodiscard]] bool lost() const noexcept { return lost_.load(std::memory_order_acquire); }
  /// Waits until the current device is idle, and says whether it still can be used.
  [[nodiscard]] bool lives() noexcept;
  /// Null while the device lives.
  [[nodiscard]] std::exception_ptr loss() const noexcept;

 private:
  Process() = default;

  std::atomic<bool> exiting_{false};
  std::atomic<bool> forked_{false};
  std::atomic<bool> lost_{false};
  std::exception_ptr loss_;  ///< Written once, before lost_.
  std::mutex mutex_;
  bool watched_ = false;  ///< Forks and the end of main are.
  std::vector<Queue> free_;
};

/// "NVIDIA H100 80GB HBM3, 79.1 GiB, sm_90"; empty where there is no such device.
[[nodiscard]] std::string device_name(c10::DeviceIndex device);
/// Nothing where the device does not say. Memory that libtorch's allocator keeps for later counts
/// as free: the next tensor has it.
[[nodiscard]] std::optional<DeviceMemory> memory_of(c10::DeviceIndex device) noexcept;
/// "580.159.04, CUDA 13.0, runtime 13.0".
[[nodiscard]] std::string driver_name();
/// Lets the device copy to and from it without a copy in between, until the process ends. Where it
/// cannot, they are as of any other memory.
void pin(std::span<std::byte> memory) noexcept;

}  // namespace streamgate::executor::cuda
