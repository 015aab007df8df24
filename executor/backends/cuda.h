// SPDX-License-Identifier: Apache-2.0
//
// libtorch on CUDA: a stream is a CUDA stream that nobody else in the process has. Capturing a CUDA
// graph is the one thing here that is unsafe beside itself, and so the op class graph; what makes
// captured graphs of calls and replays them is graph_cache.h.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <cstddef>
#include <memory>

namespace at {
class Tensor;
}

namespace streamgate::executor {

/// The backend "cuda".
///
/// Thread-safety: as Backend. Ownership: the streams that it opens are its own in the whole process
/// until its end; they are not libtorch's pool streams, which go to everybody in turn. Blocking:
/// initialise waits for the device; the wait of a caller of run is a poll of up to 1 ms on its own
/// thread, then a sleep until the device calls back; synchronize polls to its deadline; nothing
/// else waits. Failure: without a device, in a forked child and after main has returned it makes no
/// call of CUDA, and initialise, open_stream and require_usable throw std::runtime_error. An error
/// that outlives its operation (an illegal address, an uncorrectable memory error) loses CUDA for
/// the process: running, waiting and later tasks end as failed, with an exception that says so.
///
///     policies::Config config;
///     config.executor.backend = "cuda";
///     streamgate::Executor executor({.config = config});  // on the main thread
///     auto sum = executor.run([&] { return x.sum().item<float>(); });
///     std::cout << *sum << '\n';
[[nodiscard]] std::unique_ptr<Backend> make_cuda_backend(const policies::Config& config);

/// Bytes of one device, as its driver and libtorch's caching allocator count them.
struct CudaMemory {
  std::size_t free = 0;       ///< Of the device, for anybody.
  std::size_t total = 0;      ///< Of the device.
  std::size_t allocated = 0;  ///< By tensors of this process.
  std::size_t reserved = 0;   ///< By the allocator, for tensors of this process.
};

/// Throws std::runtime_error where the device must not or cannot be asked. Some microseconds.
[[nodiscard]] CudaMemory cuda_memory(std::size_t device);

/// Tells libtorch's allocator that the stream that is current here uses the tensor's memory, too.
/// Call it wherever a tensor of one stream is used on another and may be let go of before that
/// stream is done: in a task, for a tensor that its caller may drop; after get, for a task's result
/// that is used on a stream of one's own. Without it the allocator gives the memory to the next
/// tensor of the first stream while the second still reads. Does nothing for tensors elsewhere.
void use_on_current_stream(const at::Tensor& tensor);

}  // namespace streamgate::executor
