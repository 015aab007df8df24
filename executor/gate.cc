// SPDX-License-Identifier: Apache-2.0
//
// The gate's word, and the steps on it.
#include <streamgate/executor/gate.h>

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>

namespace streamgate::executor {
namespace {

using policies::index_of;
using policies::kAllOpClasses;
using policies::kLanes;
using policies::kOpClasses;
using policies::OpClass;
using policies::OpClassSet;

struct Field {
  unsigned shift;
  unsigned bits;
};

constexpr std::array<Field, kOpClasses> kFields = {{{0, 16}, {16, 11}, {27, 11}, {38, 1}}};
constexpr std::uint64_t kClosed = std::uint64_t{1} << 39U;
constexpr std::uint64_t kEpoch = std::uint64_t{1} << 40U;
constexpr std::uint64_t kCounts = kClosed - 1;

constexpr std::uint64_t one(OpClass c) { return std::uint64_t{1} << kFields[index_of(c)].shift; }
constexpr std::uint64_t mask(OpClass c) {
  const Field field = kFields[index_of(c)];
  return ((std::uint64_t{1} << field.bits) - 1) << field.shift;
}
constexpr std::size_t count(std::uint64_t word, OpClass c) {
  return static_cast<std::size_t>((word & mask(c)) >> kFields[index_of(c)].shift);
}

constexpr std::array<std::uint64_t, kLanes> permits_of_lanes() {
  std::array<std::uint64_t, kLanes> permits{};
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    for (const OpClass c : kAllOpClasses) {
      if (OpClassSet::from_lane(lane).contains(c)) permits[lane] += one(c);
    }
  }
  return permits;
}
constexpr std::array<std::uint64_t, kLanes> kPermits = permits_of_lanes();

/// The members of each lane's set; a set of one names it twice.
constexpr std::array<std::array<OpClass, 2>, kLanes> kMembers = {
    {{OpClass::kRaw, OpClass::kRaw},
     {OpClass::kKernel, OpClass::kKernel},
     {OpClass::kGraph, OpClass::kGraph},
     {OpClass::kKernel, OpClass::kGraph},
     {OpClass::kExclusive, OpClass::kExclusive}}};

static_assert(Gate::kMaxCeiling < (1U << 11U), "a count must not overflow into its neighbour");

}  // namespace

Gate::Gate(const GateOptions& options) : ceilings_(options.ceilings) {
  ceilings_[index_of(OpClass::kExclusive)] = 1;
  for (const OpClass c : kAllOpClasses) {
    const std::size_t ceiling = ceilings_[index_of(c)];
    if (ceiling < 1 || ceiling > kMaxCeiling) {
      throw std::invalid_argument("gate: the ceiling of " + std::string(policies::to_string(c)) +
                                  " is " + std::to_string(ceiling) + "; allowed: 1.." +
                                  std::to_string(kMaxCeiling));
    }
    limits_[index_of(c)].store(static_cast<std::uint32_t>(ceiling), std::memory_order_relaxed);
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const OpClassSet classes = OpClassSet::from_lane(lane);
    std::uint64_t bits = mask(OpClass::kExclusive);
    if (classes.contains(OpClass::kExclusive)) bits = kCounts;
    for (const auto& [a, b] : options.incompatible) {
      // A pair of a class with itself is a ceiling of 1, and is not said here.
      if (a == b) continue;
      // A composite of both is one task and no danger to itself, but a neighbour of either kind
      // would run beside its other half: so it excludes both.
      if (classes.contains(a)) bits |= mask(b);
      if (classes.contains(b)) bits |= mask(a);
    }
    excluding_bits_[lane] = bits;
  }
}

Gate::Refusal Gate::judge(std::uint64_t word, OpClassSet classes) const noexcept {
  const std::size_t lane = classes.lane();
  if ((word & excluding_bits_[lane]) != 0) return Refusal::kExcluded;
  for (const OpClass c : kMembers[lane]) {
    if (count(word, c) >= limits_[index_of(c)].load(std::memory_order_relaxed)) {
      return Refusal::kFull;
    }
  }
  return Refusal::kNone;
}

Gate::Refusal Gate::would_refuse(OpClassSet classes) const noexcept {
  return judge(word_.load(std::memory_order_seq_cst), classes);
}

Gate::Refusal Gate::acquire_unless(std::uint64_t refusing_bits, OpClassSet classes) noexcept {
  // Acquire: pairs with the epoch's release in set_limit, so that the limits read below are at
  // least as new as the word.
  std::uint64_t word = word_.load(std::memory_order_acquire);
  for (;;) {
    if ((word & refusing_bits) != 0) return Refusal::kFull;
    const Refusal refusal = judge(word, classes);
    if (refusal != Refusal::kNone) return refusal;
    // Sequentially consistent: with AdmissionQueue's count of waiting tasks this decides whether a
    // release sees the waiting task or the waiting task sees the permit (see internal/core.h).
    if (word_.compare_exchange_weak(word, word + kPermits[classes.lane()],
                                    std::memory_order_seq_cst, std::memory_order_acquire)) {
      return Refusal::kNone;
    }
  }
}

Gate::Refusal Gate::acquire(OpClassSet classes) noexcept {
  return acquire_unless(kClosed, classes);
}
Gate::Refusal Gate::acquire_closed(OpClassSet classes) noexcept {
  return acquire_unless(0, classes);
}

void Gate::release(OpClassSet classes) noexcept {
  [[maybe_unused]] const std::uint64_t before =
      word_.fetch_sub(kPermits[classes.lane()], std::memory_order_seq_cst);
#ifndef NDEBUG
  for (const OpClass c : kAllOpClasses) assert(!classes.contains(c) || count(before, c) > 0);
#endif
}

bool Gate::may_keep(OpClassSet classes) const noexcept {
  const std::uint64_t word = word_.load(std::memory_order_acquire);
  for (const OpClass c : kMembers[classes.lane()]) {
    if (count(word, c) > limits_[index_of(c)].load(std::memory_order_relaxed)) return false;
  }
  return true;
}

std::size_t Gate::set_limit(OpClass c, std::size_t limit) noexcept {
  const std::size_t clamped = std::clamp<std::size_t>(limit, 1, ceilings_[index_of(c)]);
  limits_[index_of(c)].store(static_cast<std::uint32_t>(clamped), std::memory_order_relaxed);
  // Release: pairs with the acquire load in acquire_unless. The epoch is the top field, so it wraps
  // into nothing.
  word_.fetch_add(kEpoch, std::memory_order_seq_cst);
  return clamped;
}

void Gate::close() noexcept { word_.fetch_or(kClosed, std::memory_order_seq_cst); }
bool Gate::closed() const noexcept {
  return (word_.load(std::memory_order_seq_cst) & kClosed) != 0;
}

std::size_t Gate::in_use(OpClass c) const noexcept {
  return count(word_.load(std::memory_order_acquire), c);
}

bool Gate::idle() const noexcept { return (word_.load(std::memory_order_seq_cst) & kCounts) == 0; }

std::size_t Gate::limit(OpClass c) const noexcept {
  return limits_[index_of(c)].load(std::memory_order_relaxed);
}

bool Gate::exclude_each_other(OpClassSet a, OpClassSet b) const noexcept {
  return (kPermits[a.lane()] & ((excluding_bits_[b.lane()] & kCounts))) != 0 ||
         (kPermits[b.lane()] & (excluding_bits_[a.lane()] & kCounts)) != 0;
}

}  // namespace streamgate::executor
