// SPDX-License-Identifier: Apache-2.0
//
// Where a trial writes down what it is doing, in memory that the parent shares: what stands here
// outlives the trial's process, however that ends. The layout, and no decisions.
#pragma once

#include <streamgate/executor/probe/stage.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace streamgate::executor::probe {

/// Text that fits into shared memory; what is longer is cut. The writer publishes it by a later
/// store to Board::state or, for labels, by the first stamp of a thread.
template <std::size_t kSize>
struct SharedText {
  std::array<char, kSize> bytes{};

  void assign(std::string_view text) noexcept {
    const std::size_t size = std::min(text.size(), kSize - 1);
    std::memcpy(bytes.data(), text.data(), size);
    bytes[size] = '\0';
  }
  /// Bounded, since a dying process may have written anything anywhere.
  [[nodiscard]] std::string str() const { return {bytes.data(), strnlen(bytes.data(), kSize)}; }
};

enum class TrialState : std::uint32_t {
  kStarting,   ///< The device is not initialised.
  kReady,      ///< It is; the serial references are being computed.
  kRunning,    ///< Stages run.
  kFinished,   ///< All of them did.
  kCorrupt,    ///< A result differed: see `struck`.
  kCannotRun,  ///< For a reason that is no failure of the class: see `message`.
  kHeld,       ///< Ready to run the stages, once the parent says so.
};

/// One thread of the stage that is running.
struct alignas(64) ThreadStamp {
  std::atomic<std::uint64_t> begun{0};    ///< Operations whose encode was begun in this stage.
  std::atomic<std::uint64_t> checked{0};  ///< Operations whose results were right.
};

struct StageFigures {
  std::atomic<std::uint64_t> operations{0};   ///< With right results.
  std::atomic<std::uint64_t> nanoseconds{0};  ///< From the first barrier to the last result.
};

/// All zero is its initial state, which is what fresh shared memory holds.
///
/// Thread-safe as far as its members are atomic; texts are written by one thread before the state
/// that announces them. Of the child's word nothing is trusted: the parent bounds what it reads.
struct Board {
  std::atomic<TrialState> state{TrialState::kStarting};
  std::atomic<std::uint32_t> stage{0};   ///< The one that runs.
  std::atomic<std::uint32_t> struck{0};  ///< 1 + the thread that died, or had a wrong result.
  std::atomic<std::uint32_t> wrong{0};   ///< Wrong results of that thread's last batch.

  // Written before kReady.
  std::uint32_t max_streams = 0;
  std::uint32_t classes = 0;  ///< Bit index_of(c) for each class of the workload.
  std::uint32_t called = 0;   ///< Of these, those that calls have.
  std::uint64_t hang_after_ms = 0;
  std::array<SharedText<256>, 5> provenance{};  ///< In the order of its members.
  std::array<SharedText<64>, policies::kOpClasses> operations{};

  SharedText<1024> message{};
  std::array<ThreadStamp, kMaxThreads> threads{};
  std::array<StageFigures, kMaxStages> stages{};
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<TrialState>::is_always_lock_free);

}  // namespace streamgate::executor::probe
