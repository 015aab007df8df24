// SPDX-License-Identifier: Apache-2.0
//
// Counting, and drawing lots.
#include <streamgate/executor/backends/emulator/encoder_census.h>

#include <algorithm>
#include <atomic>
#include <random>

namespace streamgate::executor::metal {
namespace {

using policies::FaultRule;
using policies::index_of;
using policies::kAllOpClasses;
using policies::OpClass;
using policies::OpClassSet;

/// Of the process, not of a device: what `after` of a fault model counts is what wears out a
/// process.
std::atomic<std::uint64_t> encodes_of_process{0};

constexpr std::uint8_t bit(OpClass op_class) {
  return static_cast<std::uint8_t>(1U << index_of(op_class));
}

/// Every process has its own luck: a probe that starts the same trial twice must not see it twice.
std::uint64_t draw_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32U) | device();
}

/// Sebastiano Vigna's splitmix64: from a counter to bits that are good enough to draw lots with.
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

}  // namespace

std::string Strike::reason(std::string_view label) const {
  std::string text(label.empty() ? "an operation" : label);
  text += " encodes ";
  text += to_string(op_class);
  text += beside ? " beside " : " as one of ";
  text += beside ? std::string(to_string(*beside)) : std::to_string(width) + " at once";
  text += ", which this device does not survive";
  return text;
}

EncoderCensus::EncoderCensus(const policies::FaultModel& model)
    : model_(model), seed_(draw_seed()) {}

std::optional<Strike> EncoderCensus::open(Stream& stream, CommandBuffer& buffer,
                                          OpClassSet classes) noexcept {
  // Relaxed: a number for each encode; it orders nothing.
  const std::uint64_t encode = encodes_of_process.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  for (const OpClass op_class : kAllOpClasses) {
    if (classes.contains(op_class)) count_in(stream, buffer, op_class);
  }
  return judge(stream, classes, encode);
}

void EncoderCensus::count_in(Stream& stream, CommandBuffer& buffer, OpClass op_class) noexcept {
  if ((buffer.counted_ & bit(op_class)) != 0) return;
  buffer.counted_ |= bit(op_class);
  const std::size_t c = index_of(op_class);
  if (stream.unfinished_[c]++ != 0) return;
  most_[c] = std::max(most_[c], ++encoders_[c]);
}

void EncoderCensus::close(Stream& stream, CommandBuffer& buffer) noexcept {
  const std::lock_guard lock(mutex_);
  for (const OpClass op_class : kAllOpClasses) {
    if ((buffer.counted_ & bit(op_class)) == 0) continue;
    const std::size_t c = index_of(op_class);
    if (--stream.unfinished_[c] == 0) --encoders_[c];
  }
  buffer.counted_ = 0;
}

std::optional<Strike> EncoderCensus::judge(const Stream& stream, OpClassSet classes,
                                           std::uint64_t encode) const noexcept {
  std::uint64_t which = 0;
  for (const OpClass op_class : kAllOpClasses) {
    ++which;
    const policies::ClassFaults& faults = model_.classes[index_of(op_class)];
    const std::size_t width = encoders_[index_of(op_class)];
    if (!classes.contains(op_class) || !faults.safe_threads || width <= *faults.safe_threads) {
      continue;
    }
    if (strikes(faults.rule, encode, which)) {
      return Strike{faults.rule.fault, encode, op_class, width, std::nullopt};
    }
  }
  for (const policies::IncompatibleFault& pair : model_.incompatible) {
    ++which;
    for (const auto& [mine, other] : {std::pair(pair.a, pair.b), std::pair(pair.b, pair.a)}) {
      if (!classes.contains(mine) || others(stream, other) == 0) continue;
      if (strikes(pair.rule, encode, which)) {
        return Strike{pair.rule.fault, encode, mine, encoders_[index_of(mine)], other};
      }
      break;  // One lot for one pair.
    }
  }
  return std::nullopt;
}

bool EncoderCensus::strikes(const FaultRule& rule, std::uint64_t encode,
                            std::uint64_t which) const noexcept {
  if (encode < rule.after) return false;
  constexpr double kTwoTo53 = 9007199254740992.0;
  const std::uint64_t lot = mixed(mixed(seed_ + encode) + which);
  return static_cast<double>(lot >> 11U) / kTwoTo53 < rule.probability;
}

std::size_t EncoderCensus::others(const Stream& stream, OpClass op_class) const noexcept {
  const std::size_t c = index_of(op_class);
  return encoders_[c] - (stream.unfinished_[c] != 0 ? 1 : 0);
}

std::size_t EncoderCensus::encoders(OpClass op_class) const noexcept {
  const std::lock_guard lock(mutex_);
  return encoders_[index_of(op_class)];
}

std::size_t EncoderCensus::most_encoders(OpClass op_class) const noexcept {
  const std::lock_guard lock(mutex_);
  return most_[index_of(op_class)];
}

}  // namespace streamgate::executor::metal
