// SPDX-License-Identifier: Apache-2.0
//
// What the work of one thread holds of a device's memory, as libtorch's allocators report it. Only
// in builds with libtorch.
#pragma once

#include <cstddef>

namespace streamgate::executor {

/// Begins to measure what this thread allocates on the device and gives back; false where it
/// cannot: a measurement or a profiler of libtorch's is under way here. `device_type` and `index`
/// are c10's.
[[nodiscard]] bool start_memory_meter(int device_type, int index) noexcept;

/// Ends it, and says the most that was held at a time beside what was there at its beginning. Work
/// of libtorch's own other threads is not seen. REQUIRES: started on this thread.
[[nodiscard]] std::size_t end_memory_meter() noexcept;

}  // namespace streamgate::executor
