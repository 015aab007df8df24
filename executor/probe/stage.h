// SPDX-License-Identifier: Apache-2.0
//
// What a trial is told to do: which classes, how many threads of each, for how long. Plain values
// and their words on a command line; who carries them out is the trial, who chooses them the plan.
#pragma once

#include <streamgate/policies/op_class.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor::probe {

/// So many threads that run operations of one class, each on a stream of its own.
struct Party {
  policies::OpClass op_class = policies::OpClass::kRaw;
  std::size_t width = 1;

  bool operator==(const Party&) const = default;
};

enum class Mode : std::uint8_t {
  /// In rounds: all threads are released by one barrier and encode a batch without waiting for the
  /// device in between. It makes them meet as often as can be.
  kHammer,
  /// As a service does: every thread encodes one operation, waits for it and checks it, on its own
  /// pace. It is what throughput is measured with.
  kPace
};

/// One part of a trial, with new threads and new streams.
struct Stage {
  std::vector<Party> parties{};  ///< One, or two of different classes.
  Mode mode = Mode::kHammer;
  std::uint64_t operations = 0;  ///< Ends after so many of all threads together; 0: by time only.
  std::chrono::milliseconds at_most{1000};
  std::size_t batch = 8;      ///< Operations between two barriers, of each thread.
  std::uint64_t warm_up = 0;  ///< Operations that each thread runs alone before the first barrier.

  bool operator==(const Stage&) const = default;
};

inline constexpr std::size_t kMaxWidth = 64;    ///< Of one party.
inline constexpr std::size_t kMaxThreads = 128;  ///< Of one stage.
inline constexpr std::size_t kMaxStages = 256;
inline constexpr std::chrono::milliseconds kMaxStageTime{3'600'000};

/// The threads of all parties.
[[nodiscard]] std::size_t threads_of(const Stage& stage) noexcept;

/// "graph:4+raw:2", for people and as part of the next.
[[nodiscard]] std::string to_string(const std::vector<Party>& parties);

/// "graph:4+raw:2/hammer/operations=20000/at-most-ms=1000/batch=8/warm-up=0".
/// ENSURES: parse_stage(to_string(s)) equals s.
[[nodiscard]] std::string to_string(const Stage& stage);

/// Throws std::invalid_argument that names what is wrong and what is allowed.
[[nodiscard]] Stage parse_stage(std::string_view text);

}  // namespace streamgate::executor::probe
