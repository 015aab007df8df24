// SPDX-License-Identifier: Apache-2.0
//
// How much memory one kind of task needs, learned from what its runs held. For a task whose author
// cannot say it; what is done with the number is the memory budget's business.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace streamgate::executor {

/// Learns the bytes of device memory that one kind of task holds at most while it runs, for each
/// size of its arguments (TaskOptions::cost_bytes, in powers of two): the largest that was seen of
/// late. The first run of a size reserves what the task says (TaskOptions::memory_bytes), or else
/// the whole budget. After the first three runs of a size only every 32nd is measured.
///
/// Thread-safety: thread-safe and lock-free. Ownership: the caller's; it must outlive every task
/// that names it. Blocking: never. Failure: none; a device that cannot say what a task held
/// (Backend::starts_metering) teaches nothing, and then what the task says holds.
///
///     static executor::LearnedMemory encoder;
///     executor.submit({.cost_bytes = input.nbytes(), .learn_memory = &encoder},
///                     [&] { return encode(input); });
///     ...
///     const auto bytes = encoder.estimate(input.nbytes());
class LearnedMemory {
 public:
  /// What a task with arguments of that size is expected to hold; nothing before the first run.
  [[nodiscard]] std::optional<std::size_t> estimate(std::size_t cost_bytes) const noexcept;

  // ---- not for users ----

  /// Whether the run that now begins is to be measured.
  [[nodiscard]] bool wants_run(std::size_t cost_bytes) noexcept;
  /// A measured run has held so much at most.
  void learn(std::size_t cost_bytes, std::size_t held) noexcept;

 private:
  static constexpr std::uint32_t kFirstRuns = 3;
  static constexpr std::uint32_t kEvery = 32;

  /// Tasks whose arguments have the same number of binary digits.
  struct Size {
    std::atomic<std::uint64_t> held{0};  ///< And one, so that 0 is "not seen".
    std::atomic<std::uint32_t> runs{0};
  };
  [[nodiscard]] static std::size_t index(std::size_t cost_bytes) noexcept;

  std::array<Size, std::numeric_limits<std::size_t>::digits + 1> sizes_{};
};

}  // namespace streamgate::executor
