// SPDX-License-Identifier: Apache-2.0
//
// Operators for the benchmarks of workers, and the executors that run them: linked into the
// benchmarks' program, which is its own worker, so that both sides have them.
#pragma once

#include <streamgate/executor.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

namespace streamgate::bench {

/// `streamgate_bench::hand_over(Tensor x) -> Tensor`: new memory of the same size, touched by
/// nobody, so that what is measured is the way.
inline constexpr const char* kHandOver = "streamgate_bench::hand_over";

/// `streamgate_bench::device_step(Tensor x, int microseconds) -> (int, int)`: a kernel on the
/// emulated device, which takes so long and no core. Gives when it was begun, in ns of the steady
/// clock, and by which process. In a worker that is a device of the worker's own, as each process
/// has its own encoders; here it is the executor's, whose fault model must say the same time.
inline constexpr const char* kDeviceStep = "streamgate_bench::device_step";

/// With so many workers, all ready; the program is this one.
[[nodiscard]] std::unique_ptr<Executor> make_executor(Config config, std::size_t workers);

/// The config of an emulated device that takes so long for each kernel, with `width` of them
/// encoded at once. REQUIRES: the folder lives as long as the executor.
[[nodiscard]] Config emulated_config(const std::filesystem::path& folder,
                                     std::chrono::microseconds execute, std::size_t width);

/// A folder that is gone with the process.
[[nodiscard]] const std::filesystem::path& scratch_folder();

}  // namespace streamgate::bench
