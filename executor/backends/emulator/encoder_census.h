// SPDX-License-Identifier: Apache-2.0
//
// Who is encoding what at this moment, and whether the fault model lets that pass. It decides that
// a fault strikes; striking is done by the encoder.
#pragma once

#include <streamgate/executor/backends/emulator/metal.h>
#include <streamgate/policies/fault_model.h>
#include <streamgate/policies/op_class.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace streamgate::executor::metal {

/// A fault that strikes an encode.
struct Strike {
  policies::Fault fault;
  std::uint64_t encode;                     ///< Its number in this process.
  policies::OpClass op_class;               ///< The class that is unsafe here.
  std::size_t width;                        ///< Concurrent encoders of it.
  std::optional<policies::OpClass> beside;  ///< The class that it must not be beside; or too many.

  /// For people: what was unsafe.
  [[nodiscard]] std::string reason(std::string_view label) const;
};

/// Counts concurrent encoders by class, and judges each encode.
///
/// What is counted are streams. A stream is one concurrent encoder of a class from the moment that
/// an encode of the class is opened on it until the command buffer that holds the encode has
/// completed. Through completion, as the only permit that was found to work covered encode through
/// completion (facts 1.2: the encoder's memory is used until then); streams, not encodes, as the
/// encodes of one stream follow each other. From this it follows that
///
/// - N threads, each with a stream of its own, are never more than N encoders, however many buffers
///   each has on the way: at or below the safe width nothing strikes.
/// - N threads that encode, commit and wait are N encoders nearly all the time, as a buffer takes
/// the
///   device longer than anything takes its thread: above the safe width a fault finds its chance.
/// - A permit that is given back when the task's function returns, before the device is done, is
///   found out.
///
/// An encode counts in every class of its set. A stream is never incompatible with itself: a
/// composite of two incompatible classes is one task and no danger to itself.
///
/// Thread-safety: thread-safe, by one short lock. Ownership: of nothing; its notes in streams and
/// buffers live there. Blocking: never beyond the lock. Failure: never.
///
///     if (auto strike = census.open(stream, buffer, OpClass::kGraph)) die_of(*strike);
///     ...
///     census.close(stream, buffer);  // It has completed.
class EncoderCensus {
 public:
  explicit EncoderCensus(const policies::FaultModel& model);
  EncoderCensus(const EncoderCensus&) = delete;
  EncoderCensus& operator=(const EncoderCensus&) = delete;

  /// Counts an encode in, and judges it.
  [[nodiscard]] std::optional<Strike> open(Stream& stream, CommandBuffer& buffer,
                                           policies::OpClassSet classes) noexcept;
  /// Counts everything that was encoded into the buffer out.
  void close(Stream& stream, CommandBuffer& buffer) noexcept;

  [[nodiscard]] std::size_t encoders(policies::OpClass op_class) const noexcept;
  [[nodiscard]] std::size_t most_encoders(policies::OpClass op_class) const noexcept;

 private:
  void count_in(Stream& stream, CommandBuffer& buffer, policies::OpClass op_class) noexcept;
  [[nodiscard]] std::optional<Strike> judge(const Stream& stream, policies::OpClassSet classes,
                                            std::uint64_t encode) const noexcept;
  [[nodiscard]] bool strikes(const policies::FaultRule& rule, std::uint64_t encode,
                             std::uint64_t which) const noexcept;
  [[nodiscard]] std::size_t others(const Stream& stream, policies::OpClass op_class) const noexcept;

  const policies::FaultModel& model_;
  const std::uint64_t seed_;
  mutable std::mutex mutex_;
  std::array<std::size_t, policies::kOpClasses> encoders_{};  ///< Streams, by index_of(OpClass).
  std::array<std::size_t, policies::kOpClasses> most_{};
};

}  // namespace streamgate::executor::metal
