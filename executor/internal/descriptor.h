// SPDX-License-Identifier: Apache-2.0
//
// A file descriptor that is closed with its object. It knows nothing of what the descriptor is of.
#pragma once

#include <unistd.h>

#include <utility>

namespace streamgate::executor {

/// Owns one descriptor, or none (-1).
///
/// Thread-safety: externally synchronised. Ownership: closes what it holds. Blocking: as close().
/// Failure: none; what close() says is not heard, as nothing could follow from it.
///
///     Descriptor file(open(path, O_RDONLY | O_CLOEXEC));
///     if (!file) throw std::system_error(errno, std::generic_category(), "open");
///     read(file.get(), ...);
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int descriptor) noexcept : descriptor_(descriptor) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      descriptor_ = std::exchange(other.descriptor_, -1);
    }
    return *this;
  }

  [[nodiscard]] int get() const noexcept { return descriptor_; }
  explicit operator bool() const noexcept { return descriptor_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(descriptor_, -1); }
  void reset() noexcept {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }

 private:
  int descriptor_ = -1;
};

}  // namespace streamgate::executor
