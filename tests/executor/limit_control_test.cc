// SPDX-License-Identifier: Apache-2.0
//
// The promises of how observations reach a limit policy: in order, without a thread ever waiting
// for another one's turn, and none lost unnoticed.
#include <streamgate/executor/backends/inline.h>
#include <streamgate/executor/internal/limit_control.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"

namespace streamgate::executor {
namespace {

using policies::LimitMode;
using policies::LimitPolicy;
using policies::Observation;
using policies::OpClass;
using std::chrono::nanoseconds;

/// Asks for whatever a function says.
class FunctionPolicy final : public LimitPolicy {
 public:
  using Function = std::function<std::optional<std::size_t>(const Observation&)>;
  explicit FunctionPolicy(Function function) : function_(std::move(function)) {}
  std::size_t initial_limit() const noexcept override { return 2; }
  bool wants_observations() const noexcept override { return true; }
  std::optional<std::size_t> observe(const Observation& observation) noexcept override {
    return function_(observation);
  }

 private:
  Function function_;
};

struct Controlled {
  explicit Controlled(FunctionPolicy::Function function, LimitMode mode = LimitMode::kEnforced) {
    std::unique_ptr<LimitPolicy> policy = std::make_unique<FunctionPolicy>(std::move(function));
    control.install(OpClass::kRaw, policy, mode);
  }
  LimitControl::Moved see(std::int64_t now) {
    return control.observe(OpClass::kRaw, {.now = nanoseconds(now)});
  }

  Gate gate{{.ceilings = {8, 1, 1, 1}}};
  std::unique_ptr<Backend> backend = make_inline_backend();
  LimitControl control{gate, *backend};
};

TEST(ObservationRing, GivesBackInOrderAndRefusesWhenFull) {
  ObservationRing ring;
  for (std::int64_t round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < ObservationRing::kCells; ++i) {
      ASSERT_TRUE(ring.push({.now = nanoseconds(i)}));
    }
    EXPECT_FALSE(ring.push({}));
    for (std::size_t i = 0; i < ObservationRing::kCells; ++i) {
      const auto next = ring.pop();
      ASSERT_TRUE(next.has_value());
      EXPECT_EQ(next->now, nanoseconds(i));
    }
    EXPECT_FALSE(ring.pop().has_value());
  }
}

TEST(LimitControl, ALimitThatIsAskedForIsInForceWithinTheCeiling) {
  std::size_t answer = 5;
  Controlled controlled([&](const Observation&) { return std::optional(answer); });
  EXPECT_EQ(controlled.gate.limit(OpClass::kRaw), 2U);
  EXPECT_EQ(controlled.see(1), LimitControl::Moved::kUp);
  EXPECT_EQ(controlled.gate.limit(OpClass::kRaw), 5U);
  answer = 3;
  EXPECT_EQ(controlled.see(2), LimitControl::Moved::kNo);
  EXPECT_EQ(controlled.gate.limit(OpClass::kRaw), 3U);
  answer = 99;
  EXPECT_EQ(controlled.see(3), LimitControl::Moved::kUp);
  EXPECT_EQ(controlled.gate.limit(OpClass::kRaw), 8U);
}

TEST(LimitControl, AThreadThatFindsThePolicyTakenLeavesItsObservationAndGoesOn) {
  testing::Event inside;
  testing::Event go_on;
  std::vector<std::int64_t> seen;
  Controlled controlled([&](const Observation& o) {
    seen.push_back(o.now.count());
    if (o.now.count() == 1) {
      inside.set();
      EXPECT_TRUE(go_on.wait());
    }
    return std::nullopt;
  });
  std::jthread slow([&] { controlled.see(1); });
  ASSERT_TRUE(inside.wait());
  // Returns while the policy is busy: it would hang here otherwise, as only this thread ends that.
  controlled.see(2);
  controlled.see(3);
  go_on.set();
  slow.join();
  controlled.see(4);
  EXPECT_EQ(seen, (std::vector<std::int64_t>{1, 2, 3, 4}));
}

TEST(LimitControl, APolicyHearsHowManyCompletionsItMissed) {
  testing::Event inside;
  testing::Event go_on;
  std::size_t seen = 0;
  std::size_t missed = 0;
  Controlled controlled([&](const Observation& o) {
    ++seen;
    missed += o.missed;
    if (o.now.count() == 1) {
      inside.set();
      EXPECT_TRUE(go_on.wait());
    }
    return std::nullopt;
  });
  std::jthread slow([&] { controlled.see(1); });
  ASSERT_TRUE(inside.wait());
  for (std::size_t i = 0; i < ObservationRing::kCells + 44; ++i) controlled.see(2);
  go_on.set();
  slow.join();
  controlled.see(3);
  EXPECT_EQ(missed, 44U);
  EXPECT_EQ(seen, ObservationRing::kCells + 2);
}

TEST(LimitControl, ManyThreadsLoseNothingUnnoticedAcrossAChangeOfPolicy) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 20'000;
  std::atomic<std::size_t> heard{0};
  std::atomic<bool> taken{false};
  const FunctionPolicy::Function count = [&](const Observation& o) -> std::optional<std::size_t> {
    EXPECT_FALSE(taken.exchange(true)) << "two threads at a time";
    heard += 1 + o.missed;
    taken = false;
    return heard % 7 + 1;
  };
  Controlled controlled(count);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (std::size_t n = 0; n < kEach; ++n) controlled.see(static_cast<std::int64_t>(n));
      });
    }
  }
  controlled.see(0);  // Takes what the last ones have left.
  EXPECT_EQ(heard, kThreads * kEach + 1);

  // While others observe, policies come and go.
  std::jthread observer([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) controlled.see(1);
  });
  for (int i = 0; i < 200; ++i) {
    std::unique_ptr<LimitPolicy> next = std::make_unique<FunctionPolicy>(count);
    controlled.control.install(OpClass::kRaw, next, LimitMode::kEnforced);
    GateSnapshot snapshot;
    controlled.control.add_to(snapshot, OpClass::kRaw, nanoseconds(0));
    EXPECT_GE(snapshot.wanted, 1U);
    EXPECT_LE(snapshot.wanted, 8U);
  }
}

}  // namespace
}  // namespace streamgate::executor
