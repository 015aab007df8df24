// SPDX-License-Identifier: Apache-2.0
//
// The MPS backend on stand-ins of libtorch's interface: what it promises the executor of streams,
// of their ends, and of waiting for them. The same tests on every tier that has a device.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../support/event.h"
#include "mps_support.h"

namespace streamgate::executor {
namespace {

using testing::Event;
using testing::kHasPool;
using testing::mps_config;
namespace stand_in = testing::stand_in;

constexpr auto kCaller = Backend::Thread::kCaller;
constexpr StreamIndex kFirst = kHasPool ? 1 : 0;  ///< Of those that any thread may have.

std::unique_ptr<Backend> initialised_backend() {
  std::unique_ptr<Backend> backend = make_mps_backend(mps_config());
  backend->initialise(1);
  return backend;
}

/// Libtorch's number of the stream behind an index.
std::int64_t stream_behind(Backend& backend, StreamIndex index) {
  backend.enter(index, kCaller);
  const std::int64_t number = stand_in::current_stream();
  backend.leave(index, kCaller);
  return number;
}

std::string error_of_opening(Backend& backend, StreamIndex index) {
  try {
    backend.open_stream(index);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

class Done final : public StreamDone {
 public:
  void on_stream_done() noexcept override {
    ++times;
    event.set();
  }
  std::atomic<int> times{0};
  Event event;
};

/// Work that keeps the device busy on the current stream until it is told to end.
class DeviceBusy {
 public:
  DeviceBusy() {
    stand_in::encode({.label = "busy", .kernel = [this] {
                        if (!end_.wait()) stand_in::die("nobody ended the device's work");
                      }});
  }
  ~DeviceBusy() { end(); }
  void end() { end_.set(); }

 private:
  Event end_;
};

auto soon() { return std::chrono::steady_clock::now() + std::chrono::milliseconds(50); }
auto guard() { return std::chrono::steady_clock::now() + testing::kGuard; }

TEST(MpsBackend, NamesItsTier) {
  EXPECT_EQ(to_string(mps_tier()), STAND_IN_TIER);
  const auto backend = initialised_backend();
  EXPECT_EQ(backend->name(), "mps");
  EXPECT_EQ(backend->provenance().backend, "mps");
  EXPECT_NE(backend->provenance().device.find("MPS streams: " STAND_IN_TIER), std::string::npos)
      << backend->provenance().device;
  EXPECT_EQ(backend->max_streams(), kHasPool ? 32U : 1U);
}

TEST(MpsBackend, TreatsAClosureAsKernelAndGraph) {
  EXPECT_EQ(make_mps_backend(mps_config())->default_class(), policies::kUnknownOpClass);
  EXPECT_FALSE(make_mps_backend(mps_config())->shares_cores());
}

TEST(MpsBackend, EveryIndexHasAStreamOfItsOwn) {
  const auto backend = initialised_backend();
  std::set<std::int64_t> streams;
  for (StreamIndex index = 0; index < backend->max_streams(); ++index) {
    backend->open_stream(index);
    streams.insert(stream_behind(*backend, index));
  }
  EXPECT_EQ(streams.size(), backend->max_streams());
}

TEST(MpsBackend, RoundRobinPastThePoolSharesNoStream) {
  const auto backend = initialised_backend();
  std::set<std::int64_t> streams;
  for (StreamIndex index = 0; index < backend->max_streams(); ++index) {
    backend->open_stream(index);
    streams.insert(stream_behind(*backend, index));
#if STREAMGATE_MPS_TIER != 4
    // Others take their turns in between: 7 and 32 have no common divisor, so every turn is hit.
    for (int i = 0; i < 7; ++i) static_cast<void>(stand_in::take_stream_from_pool());
#endif
  }
  EXPECT_EQ(streams.size(), backend->max_streams());
}

TEST(MpsBackend, ASecondExecutorGetsNoStreamOfTheFirst) {
  const auto first = initialised_backend();
  const auto second = initialised_backend();
  std::set<std::int64_t> streams;
  std::size_t opened = 0;
  for (StreamIndex index = kFirst; index < first->max_streams(); ++index) {
    Backend& backend = index % 2 == 0 ? *first : *second;
    backend.open_stream(index);
    streams.insert(stream_behind(backend, index));
    ++opened;
  }
  EXPECT_EQ(streams.size(), opened);
  // Upstream's pool has one more than have been opened.
  if (mps_tier() == MpsTier::kUpstreamPool) first->open_stream(0);
  const std::string error = error_of_opening(*second, kFirst == 0 ? 0 : 2);
  EXPECT_NE(error.find("no MPS stream left"), std::string::npos) << error;
  EXPECT_NE(error.find("Remedy: lower executor.streams"), std::string::npos) << error;
}

TEST(MpsBackend, AnEndedExecutorsStreamsAreFreeAgain) {
  for (int round = 0; round < 3; ++round) {
    const auto backend = initialised_backend();
    for (StreamIndex index = 0; index < backend->max_streams(); ++index) {
      EXPECT_EQ(error_of_opening(*backend, index), "") << "round " << round;
    }
  }
  EXPECT_EQ(stand_in::counts().streams_acquired, 0U);
}

#if STREAMGATE_MPS_TIER == 4
TEST(MpsBackend, SlotsThatOthersHoldAreAnErrorAndNoWait) {
  std::vector<std::int64_t> others;
  for (int i = 0; i < 31; ++i) others.push_back(stand_in::take_stream_from_pool());
  {
    const auto backend = initialised_backend();
    const std::string error = error_of_opening(*backend, 1);
    EXPECT_NE(error.find("no MPS stream left"), std::string::npos) << error;
    EXPECT_NE(error.find("all slots are in use"), std::string::npos) << error;
  }
  for (const std::int64_t other : others) stand_in::release_stream_to_pool(other);
}
#endif

TEST(MpsBackend, LeavingGivesTheThreadTheDefaultStreamBack) {
  const auto backend = initialised_backend();
  backend->open_stream(kFirst);
  std::jthread([&] {
    backend->enter(kFirst, kCaller);
    if (kHasPool) {
      EXPECT_NE(stand_in::current_stream(), 0);
    }
    backend->leave(kFirst, kCaller);
    EXPECT_EQ(stand_in::current_stream(), 0);
  }).join();
  EXPECT_EQ(stand_in::counts().streams_given_to_threads, 0U);
}

TEST(MpsBackend, EntersMayNest) {
  if (!kHasPool) GTEST_SKIP() << "one stream only";
  const auto backend = initialised_backend();
  for (const StreamIndex index : {1, 2}) backend->open_stream(index);
  backend->enter(1, kCaller);
  const std::int64_t outer = stand_in::current_stream();
  backend->enter(2, kCaller);
  EXPECT_NE(stand_in::current_stream(), outer);
  backend->leave(2, kCaller);
  EXPECT_EQ(stand_in::current_stream(), outer);
  backend->leave(1, kCaller);
  EXPECT_EQ(stand_in::open_pools(), 0U);
}

TEST(MpsBackend, EveryTaskHasAnAutoreleasePoolOfItsOwn) {
  const auto backend = initialised_backend();
  backend->open_stream(kFirst);
  const std::size_t before = stand_in::pushed_pools();
  backend->enter(kFirst, kCaller);
  EXPECT_EQ(stand_in::open_pools(), 1U);
  EXPECT_EQ(stand_in::pushed_pools(), before + 1);
  backend->leave(kFirst, kCaller);
  EXPECT_EQ(stand_in::open_pools(), 0U);
}

TEST(MpsBackend, DoneIsToldOnceAndNotBeforeTheDeviceIs) {
  const auto backend = initialised_backend();
  backend->open_stream(kFirst);
  backend->enter(kFirst, kCaller);
  DeviceBusy busy;
  backend->leave(kFirst, kCaller);
  Done done;
  ASSERT_EQ(backend->notify_when_done(kFirst, done), Progress::kPending);
  // What is behind the work on the same stream comes after it, so this would have seen it early.
  EXPECT_FALSE(backend->synchronize(kFirst, soon()));
  EXPECT_EQ(done.times, 0);
  busy.end();
  EXPECT_TRUE(done.event.wait());
  EXPECT_TRUE(backend->synchronize(kFirst, guard()));
  EXPECT_EQ(done.times, 1);
}

TEST(MpsBackend, SynchronizeKeepsItsDeadlineWhileTheDeviceHangs) {
  const auto backend = initialised_backend();
  backend->open_stream(kFirst);
  backend->enter(kFirst, kCaller);
  DeviceBusy busy;
  const auto deadline = soon();
  EXPECT_FALSE(backend->synchronize(kFirst, deadline));
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
  busy.end();
  EXPECT_TRUE(backend->synchronize(kFirst, guard()));
  EXPECT_TRUE(backend->synchronize(kFirst, std::chrono::steady_clock::time_point::max()));
  backend->leave(kFirst, kCaller);
}

TEST(MpsBackend, SynchronizeWaitsForItsOwnStreamOnly) {
  if (!kHasPool) GTEST_SKIP() << "one stream only";
  const auto backend = initialised_backend();
  for (const StreamIndex index : {1, 2}) backend->open_stream(index);
  backend->enter(1, kCaller);
  DeviceBusy busy;
  backend->leave(1, kCaller);
  EXPECT_TRUE(backend->synchronize(2, guard()));
  EXPECT_FALSE(backend->synchronize(1, soon()));
  busy.end();
  EXPECT_TRUE(backend->synchronize(1, guard()));
}

TEST(MpsBackend, AStreamThatTheDeviceHasNotFinishedIsNotHandedOn) {
  auto backend = initialised_backend();
  backend->open_stream(kFirst);
  const std::int64_t unfinished = stream_behind(*backend, kFirst);
  backend->enter(kFirst, kCaller);
  DeviceBusy busy;
  Done done;
  ASSERT_EQ(backend->notify_when_done(kFirst, done), Progress::kPending);
  backend->leave(kFirst, kCaller);
  backend.reset();

  backend = initialised_backend();
  if (kHasPool) {
    for (StreamIndex index = 1; index < backend->max_streams() - 1; ++index) {
      backend->open_stream(index);
      EXPECT_NE(stream_behind(*backend, index), unfinished);
    }
  } else {
    EXPECT_NE(error_of_opening(*backend, 0), "");
  }
  busy.end();
  EXPECT_TRUE(done.event.wait());

  // Once it has, anybody may have it.
  backend.reset();
  backend = initialised_backend();
  bool handed_on = false;
  for (StreamIndex index = kHasPool ? 1 : 0; index < backend->max_streams(); ++index) {
    backend->open_stream(index);
    handed_on |= stream_behind(*backend, index) == unfinished;
  }
  EXPECT_TRUE(handed_on);
}

}  // namespace
}  // namespace streamgate::executor
