// SPDX-License-Identifier: Apache-2.0
//
// Memory that two processes map and no third one can find: it has no name, only a descriptor, so it
// is gone with the last process that holds it, however that ends. What lies in it is not known
// here.
#pragma once

#include <streamgate/executor/internal/descriptor.h>

#include <cstddef>

namespace streamgate::executor {

/// What the machine, and the control group whose root is seen here, can still give. The kernel does
/// not say no when the pages of such memory are reserved: it kills processes, this one perhaps.
[[nodiscard]] std::size_t available_shared_bytes();

/// Anonymous shared memory of a fixed size, mapped.
///
/// Thread-safety: const functions are thread-safe. Ownership: of the mapping and the descriptor.
/// Blocking: create() reserves every page, which takes about 0.2 ms for a MiB. Failure: create and
/// adopt throw std::system_error (ENOSPC, EMFILE, ENOMEM, ...) and leave nothing behind.
///
///     SharedMemory ours = SharedMemory::create(bytes);
///     pass_to_child(ours.descriptor());
///     SharedMemory theirs = SharedMemory::adopt(Descriptor(3));   // in the child
///
/// The pages are reserved and the size is sealed: were it not so, a full machine, or a process at
/// the other end that shrinks the file, would turn a read of ours into SIGBUS.
class SharedMemory {
 public:
  /// Zeroed memory. REQUIRES: bytes > 0.
  [[nodiscard]] static SharedMemory create(std::size_t bytes);
  /// Maps what another process created. Throws std::system_error with EINVAL for a descriptor of
  /// anything but memory that is sealed as create() seals it.
  [[nodiscard]] static SharedMemory adopt(Descriptor descriptor);

  ~SharedMemory();
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  /// Closed when a process image is replaced; a child gets it through a file action.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_.get(); }
  /// The mapping stays. REQUIRES: nobody uses the descriptor just now.
  void close_descriptor() noexcept { descriptor_.reset(); }

 private:
  SharedMemory(Descriptor descriptor, std::size_t bytes);

  Descriptor descriptor_;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace streamgate::executor
