// SPDX-License-Identifier: Apache-2.0
//
// Values on their way between two processes: written into blocks of a channel by one side, and read
// in place by the other. It knows what values are; what they are for, it does not.
#pragma once

#include <streamgate/executor/workers/channel.h>

#include <ATen/core/ivalue.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <vector>

namespace streamgate::executor {

/// A value that cannot be carried, or bytes that are no values. what() says which value, by its
/// place, and what is wrong with it.
class CodecError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// Values in blocks that are lent to the other side.
///
/// Thread-safety: externally synchronised. Ownership: of the loans, until `sent`; refers to the
/// channel. Blocking: never. Failure: none.
///
///     std::optional<EncodedValues> encoded = encode(values, channel, deadline);
///     if (!encoded) return no_room();
///     if (channel.send({.kind = kCall, .block = encoded->frame()}, deadline) == kDone)
///       encoded->sent();
class EncodedValues {
 public:
  explicit EncodedValues(Channel& channel) noexcept : channel_(&channel) {}
  /// Takes back what was not sent.
  ~EncodedValues();
  EncodedValues(EncodedValues&& other) noexcept;
  EncodedValues& operator=(EncodedValues&&) = delete;

  /// What a message names; it leads to all the others.
  [[nodiscard]] BlockReference frame() const noexcept { return frame_; }
  /// From now on the other side gives the blocks back.
  void sent() noexcept { loans_.clear(); }

  /// Bytes that were copied into blocks, and bytes that lay in blocks already and were lent.
  [[nodiscard]] std::size_t copied_bytes() const noexcept { return copied_; }
  [[nodiscard]] std::size_t lent_bytes() const noexcept { return lent_; }

 private:
  friend class ValueWriter;
  Channel* channel_;
  BlockReference frame_{};
  std::vector<BlockReference> loans_;  ///< The frame's included.
  std::size_t copied_ = 0;
  std::size_t lent_ = 0;
};

/// Writes the values into blocks of our arena. Nothing when there is no room by the deadline, or
/// the channel ended. Throws CodecError for what cannot be carried.
///
/// Carried are None, bool, int, float, complex, str, Device, and tuples, named ones too, lists and
/// dicts (by str, int, float and bool) of what can be carried, 64 deep, with their types; and
/// strided tensors in this machine's memory of every dtype that is not quantised, with the bits
/// that say "conjugated" and "negated". A tensor arrives with its bytes, its sizes, its strides and
/// its place within 64 bytes, so that vector code takes the same way over it there as here. Where
/// its elements are spread over more than twice their bytes, it arrives contiguous instead. It has
/// neither gradient nor history, and shares memory with no other value.
///
/// A tensor that lies in a block of our arena already, as results that a worker has made there do,
/// is lent and not copied.
[[nodiscard]] std::optional<EncodedValues> encode(const std::vector<c10::IValue>& values,
                                                  Channel& channel,
                                                  std::chrono::steady_clock::time_point deadline);

/// The bytes of our arena that encode would take, to within 64 for each tensor; throws as it does.
[[nodiscard]] std::size_t encoded_bytes(const std::vector<c10::IValue>& values,
                                        const Channel& channel);

/// Reads what the other side has written. Tensors lie where it put them and give the memory back
/// when they end. Throws CodecError for bytes that encode does not write, and ChannelError for a
/// block that is not there; nothing of what the frame says is believed before it is checked, and
/// what is checked is a copy. What tensors contain is not checked, as any bytes are numbers.
[[nodiscard]] std::vector<c10::IValue> decode(Block frame, Channel& channel);

}  // namespace streamgate::executor
