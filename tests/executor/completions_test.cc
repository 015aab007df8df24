// SPDX-License-Identifier: Apache-2.0
//
// Threads that tell: each entry once, whatever those do who are told.
#include <streamgate/executor/internal/completions.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "../support/event.h"

namespace streamgate::executor {
namespace {

using testing::Countdown;
using testing::Event;

/// Told, it does what the test says.
struct Told final : StreamDone {
  std::function<void()> act;
  Completions::Entry entry{.done = this};
  void on_stream_done() noexcept override { act(); }
};

/// Never destroyed, as the class has it.
Completions& quiet() {
  static auto* const completions = new Completions([] {}, std::chrono::seconds{60});
  return *completions;
}

void hand_over(Completions& completions, Told& told) {
  completions.await();
  completions.hand_over(told.entry);
}

TEST(Completions, EveryEntryIsToldOnce) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 2'000;
  std::vector<Told> all(kThreads * kEach);
  std::vector<std::atomic<int>> times(all.size());
  Countdown left(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].entry.done = &all[i];
    all[i].act = [&, i] {
      ++times[i];
      left.arrive();
    };
  }
  std::vector<std::jthread> threads;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::size_t i = 0; i < kEach; ++i) hand_over(quiet(), all[thread * kEach + i]);
    });
  }
  threads.clear();
  ASSERT_TRUE(left.wait());
  for (const auto& count : times) EXPECT_EQ(count, 1);
  EXPECT_LE(quiet().threads(), Completions::kMostThreads);
}

TEST(Completions, OneWhoWaitsForAnotherDoesNotHoldItUp) {
  constexpr std::size_t kWaiting = 8;
  std::array<Event, kWaiting + 1> events;
  std::array<Told, kWaiting + 1> chain;
  // Each waits for the next one, which comes after it.
  for (std::size_t i = 0; i < kWaiting; ++i) {
    chain[i].act = [&events, i] {
      EXPECT_TRUE(events[i + 1].wait());
      events[i].set();
    };
  }
  chain[kWaiting].act = [&events] { events[kWaiting].set(); };
  for (Told& told : chain) hand_over(quiet(), told);
  for (Event& event : events) EXPECT_TRUE(event.wait());
}

TEST(Completions, EntryIsItsOwnersAgainOnceItIsTold) {
  Countdown rounds(1'000);
  Told told;
  int left = 1'000;
  told.act = [&] {
    if (--left > 0) hand_over(quiet(), told);
    rounds.arrive();  // Last: with the last of them all this ends.
  };
  hand_over(quiet(), told);
  EXPECT_TRUE(rounds.wait());
}

TEST(Completions, LooksWhileAnEntryIsAwaited) {
  static Event looked;
  static auto* const completions =
      new Completions([] { looked.set(); }, std::chrono::milliseconds{1});
  EXPECT_FALSE(looked.happened());
  completions->await();
  EXPECT_TRUE(looked.wait());
  completions->forget();
}

}  // namespace
}  // namespace streamgate::executor
