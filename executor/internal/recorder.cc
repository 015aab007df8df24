// SPDX-License-Identifier: Apache-2.0
//
// The counters, and which bucket a duration belongs to.
#include <streamgate/executor/internal/recorder.h>

#include <bit>

namespace streamgate::executor {
namespace {

using std::chrono::nanoseconds;

constexpr std::array<nanoseconds, kDurationBounds> make_bounds() {
  std::array<nanoseconds, kDurationBounds> bounds{};
  std::int64_t decade = 1'000;
  for (std::size_t i = 0; i < kDurationBounds; ++i) {
    const std::int64_t tenths[] = {10, 25, 50};
    bounds[i] = nanoseconds(decade * tenths[i % 3] / 10);
    if (i % 3 == 2) decade *= 10;
  }
  return bounds;
}

constexpr std::array<nanoseconds, kDurationBounds> kBounds = make_bounds();

/// For every bit width of a duration in ns, the first bucket that such a duration can be in; from
/// there it is at most two steps.
constexpr std::array<std::uint8_t, 65> make_first_buckets() {
  std::array<std::uint8_t, 65> first{};
  for (std::size_t width = 0; width <= 64; ++width) {
    const std::uint64_t least = width == 0 ? 0 : std::uint64_t{1} << (width - 1);
    std::size_t bucket = 0;
    while (bucket < kDurationBounds &&
           static_cast<std::uint64_t>(kBounds[bucket].count()) < least) {
      ++bucket;
    }
    first[width] = static_cast<std::uint8_t>(bucket);
  }
  return first;
}

constexpr std::array<std::uint8_t, 65> kFirstBuckets = make_first_buckets();

}  // namespace

const std::array<nanoseconds, kDurationBounds>& duration_bounds() noexcept { return kBounds; }

Recorder::Recorder(std::size_t slots) : slots_(slots), shards_(std::make_unique<Shard[]>(slots)) {}

void Recorder::add(Counter& counter, std::uint64_t amount) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

void Recorder::add(Histogram& histogram, nanoseconds duration) noexcept {
  const auto ns = static_cast<std::uint64_t>(duration.count() > 0 ? duration.count() : 0);
  std::size_t bucket = kFirstBuckets[static_cast<std::size_t>(std::bit_width(ns))];
  while (bucket < kDurationBounds && static_cast<std::uint64_t>(kBounds[bucket].count()) < ns) {
    ++bucket;
  }
  add(histogram.counts[bucket], 1);
  add(histogram.sum, ns);
}

void Recorder::ran(StreamIndex slot, std::size_t lane, Outcome outcome, nanoseconds wait,
                   nanoseconds run) noexcept {
  Lane& counters = shards_[slot].lanes[lane];
  add(counters.outcomes[index_of(outcome)], 1);
  add(counters.wait, wait);
  add(counters.run, run);
}

void Recorder::ended_waiting(std::size_t lane, Outcome outcome) noexcept {
  ended_waiting_[lane][index_of(outcome)].fetch_add(1, std::memory_order_relaxed);
}

void Recorder::add_to(Snapshot& snapshot) const noexcept {
  const auto sum_up = [](DurationHistogram& into, const Histogram& from) {
    for (std::size_t i = 0; i < into.counts.size(); ++i) {
      into.counts[i] += from.counts[i].load(std::memory_order_relaxed);
    }
    into.sum += nanoseconds(from.sum.load(std::memory_order_relaxed));
  };
  for (std::size_t lane = 0; lane < policies::kLanes; ++lane) {
    LaneSnapshot& into = snapshot.lanes[lane];
    for (std::size_t o = 0; o < kOutcomes; ++o) {
      into.outcomes[o] += ended_waiting_[lane][o].load(std::memory_order_relaxed);
      for (std::size_t slot = 0; slot < slots_; ++slot) {
        into.outcomes[o] += shards_[slot].lanes[lane].outcomes[o].load(std::memory_order_relaxed);
      }
    }
    for (std::size_t slot = 0; slot < slots_; ++slot) {
      sum_up(into.wait, shards_[slot].lanes[lane].wait);
      sum_up(into.run, shards_[slot].lanes[lane].run);
    }
  }
}

}  // namespace streamgate::executor
