// SPDX-License-Identifier: Apache-2.0
//
// The emulated Metal as long as it is used well: states, order, handlers, waiting, and what it
// counts.
#include <streamgate/executor/backends/emulator/metal.h>
#include <streamgate/executor/backends/emulator/process.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "hammer.h"

namespace streamgate::executor::metal {
namespace {

using namespace std::chrono_literals;
using policies::FaultModel;
using policies::OpClass;
using testing::Event;

Clock::time_point guard() { return Clock::now() + testing::kGuard; }

FaultModel quick(std::size_t parallel = 4) {
  FaultModel model;
  model.device.encode = 0us;
  model.device.execute = 0us;
  model.device.parallel = parallel;
  return model;
}

class EmulatedMetal : public ::testing::Test {
 protected:
  explicit EmulatedMetal(FaultModel model = quick()) : device(std::move(model)) {
    device.initialise();
  }

  void encode(std::size_t stream, std::function<void()> kernel,
              policies::OpClassSet classes = OpClass::kRaw) {
    device.stream(stream).run_sync([&] {
      device.stream(stream).encoder().encode({.classes = classes, .kernel = std::move(kernel)});
    });
  }

  Device device;
};

/// The device takes so long that a test can look at what is under way.
class SlowMetal : public EmulatedMetal {
 protected:
  SlowMetal() : EmulatedMetal(slow()) {}
  static FaultModel slow() {
    FaultModel model = quick(2);
    model.device.execute = 1h;
    return model;
  }
};

TEST_F(EmulatedMetal, ABufferGoesThroughItsStatesInOrder) {
  Stream& stream = device.stream(0);
  CommandBuffer& buffer = stream.run_sync([&]() -> CommandBuffer& {
    CommandBuffer& made = stream.command_buffer();
    EXPECT_EQ(made.state(), BufferState::kNotEnqueued);
    made.enqueue();
    EXPECT_EQ(made.state(), BufferState::kEnqueued);
    return made;
  });
  BufferState when_scheduled{};
  BufferState when_computed{};
  BufferState when_completed{};
  Event completed;
  stream.run_sync([&] {
    buffer.add_scheduled_handler([&] { when_scheduled = buffer.state(); });
    buffer.add_completed_handler([&] {
      when_completed = buffer.state();
      completed.set();
    });
    stream.encoder().encode(
        {.classes = OpClass::kRaw, .kernel = [&] { when_computed = buffer.state(); }});
    stream.commit();
    EXPECT_GE(buffer.state(), BufferState::kCommitted);
  });
  EXPECT_TRUE(completed.wait());
  EXPECT_EQ(when_scheduled, BufferState::kScheduled);
  EXPECT_EQ(when_computed, BufferState::kScheduled);
  EXPECT_EQ(when_completed, BufferState::kCompleted);
}

TEST_F(EmulatedMetal, CommandBufferAndEncoderAreMadeLazilyAndAnewAfterACommit) {
  Stream& stream = device.stream(0);
  EXPECT_FALSE(stream.busy());
  stream.run_sync([&] {
    stream.commit();  // Nothing to commit.
    CommandBuffer& first = stream.command_buffer();
    EXPECT_EQ(&first, &stream.command_buffer());
    EXPECT_FALSE(first.encoder_is_open());
    EXPECT_EQ(&stream.encoder(), &stream.encoder());
    EXPECT_TRUE(first.encoder_is_open());
    EXPECT_TRUE(first.empty());
    stream.commit();
    EXPECT_NE(&first, &stream.command_buffer());
  });
}

TEST_F(EmulatedMetal, KernelsOfAStreamRunInOrderOnAThreadOfTheDevice) {
  std::vector<int> order;
  std::atomic<bool> elsewhere{true};
  const auto caller = std::this_thread::get_id();
  for (int i = 0; i < 100; ++i) {
    encode(1, [&, i] {
      order.push_back(i);
      if (std::this_thread::get_id() == caller) elsewhere = false;
    });
    if (i % 7 == 0) device.stream(1).run_sync([&] { device.stream(1).commit(); });
  }
  EXPECT_TRUE(device.stream(1).synchronize(guard()));
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(elsewhere);
}

TEST_F(EmulatedMetal, AKernelRunsAtExecutionAndNotWhenItIsEncoded) {
  bool ran = false;
  encode(0, [&] { ran = true; });
  EXPECT_FALSE(ran);
  EXPECT_TRUE(device.stream(0).busy());
  EXPECT_TRUE(device.stream(0).synchronize(guard()));
  EXPECT_TRUE(ran);
  EXPECT_FALSE(device.stream(0).busy());
}

TEST_F(EmulatedMetal, WhatAKernelThrowsIsItsBuffersErrorAndTheNextBufferRuns) {
  encode(0, [] { throw std::runtime_error("shapes do not match"); });
  EXPECT_TRUE(device.stream(0).synchronize(guard()));
  EXPECT_THROW(std::rethrow_exception(device.stream(0).take_error()), std::runtime_error);
  EXPECT_EQ(device.stream(0).take_error(), nullptr);
  bool ran = false;
  encode(0, [&] { ran = true; });
  EXPECT_TRUE(device.stream(0).synchronize(guard()));
  EXPECT_TRUE(ran);
}

TEST_F(EmulatedMetal, ThreadsThatTakeTurnsOnTheQueueMayShareAStreamAndAnEncoder) {
  constexpr int kEach = 500;
  int sum = 0;  // Kernels of one stream do not overlap, so nothing else guards it.
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < kEach; ++i)
          encode(
              0, [&] { ++sum; }, OpClass::kGraph);
      });
    }
  }
  EXPECT_TRUE(device.stream(0).synchronize(guard()));
  EXPECT_EQ(sum, 4 * kEach);
  EXPECT_EQ(device.most_encoders(OpClass::kGraph), 1U) << "one stream is one encoder";
}

TEST_F(EmulatedMetal, TheQueueKnowsItsThread) {
  Stream& stream = device.stream(0);
  EXPECT_FALSE(stream.on_queue());
  stream.run_sync([&] {
    EXPECT_TRUE(stream.on_queue());
    std::thread([&] { EXPECT_FALSE(stream.on_queue()); }).join();
  });
  EXPECT_FALSE(stream.on_queue());
}

TEST_F(SlowMetal, SynchronizeHonoursItsDeadlineWhenTheDeviceDoesNotEnd) {
  encode(0, [] {});
  EXPECT_FALSE(device.stream(0).synchronize(Clock::now() + 20ms));
  EXPECT_TRUE(device.stream(0).busy());
  // Also where another thread is on the queue.
  Event on_queue;
  Event leave;
  std::jthread other([&] {
    device.stream(1).run_sync([&] {
      on_queue.set();
      EXPECT_TRUE(leave.wait());
    });
  });
  ASSERT_TRUE(on_queue.wait());
  EXPECT_FALSE(device.stream(1).synchronize(Clock::now() + 20ms));
  leave.set();
}

TEST_F(SlowMetal, TheDeviceExecutesSoManyBuffersAtOnceAndOneOfAStream) {
  std::array<CommandBuffer*, 4> buffers{};
  const std::array<std::size_t, 4> streams{0, 0, 1, 2};
  // Shared with the device's thread, which may not have left it when the wait is over.
  const auto scheduled = std::make_shared<testing::Countdown>(2);
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    Stream& stream = device.stream(streams[i]);
    stream.run_sync([&] {
      buffers[i] = &stream.command_buffer();
      if (i % 2 == 0) buffers[i]->add_scheduled_handler([scheduled] { scheduled->arrive(); });
      stream.encoder().encode({.classes = OpClass::kRaw});
      stream.commit();
    });
  }
  ASSERT_TRUE(scheduled->wait());
  EXPECT_EQ(buffers[1]->state(), BufferState::kCommitted) << "behind the first of its stream";
  EXPECT_EQ(buffers[2]->state(), BufferState::kScheduled);
  EXPECT_EQ(buffers[3]->state(), BufferState::kCommitted) << "the device is full";
}

TEST_F(EmulatedMetal, AStreamCountsAsAnEncoderUntilItsBufferHasCompleted) {
  EXPECT_EQ(device.encoders(OpClass::kGraph), 0U);
  encode(
      0, [] {}, OpClass::kGraph);
  encode(
      0, [] {}, OpClass::kGraph);
  encode(
      1, [] {}, OpClass::kKernel | OpClass::kGraph);
  EXPECT_EQ(device.encoders(OpClass::kGraph), 2U);
  EXPECT_EQ(device.encoders(OpClass::kKernel), 1U);
  // Before anybody hears of the completion: the next task may encode at once.
  std::atomic<std::size_t> when_told{99};
  device.stream(1).run_sync([&] {
    device.stream(1).command_buffer().add_completed_handler(
        [&] { when_told = device.encoders(OpClass::kGraph); });
  });
  EXPECT_TRUE(device.stream(1).synchronize(guard()));
  EXPECT_TRUE(testing::eventually([&] { return when_told != 99; }));
  EXPECT_EQ(when_told, 1U);
  EXPECT_TRUE(device.stream(0).synchronize(guard()));
  EXPECT_EQ(device.encoders(OpClass::kGraph), 0U);
}

TEST_F(EmulatedMetal, EncodersReallyOverlapOnAMachineWithFewCores) {
  FaultModel model;  // With the times of the default.
  Device timed(model);
  timed.initialise();
  EXPECT_EQ(testing::hammer(timed, {{OpClass::kGraph, 8}}, 50), 0U);
  EXPECT_EQ(timed.most_encoders(OpClass::kGraph), 8U);
}

TEST(EmulatedMetalDamage, IsNoticedWithAnyTolerance) {
  for (const float before : {0.F, 1.F, -1.F, -0.5F, 2.F, 1e-30F, -1e20F, 3.4e38F}) {
    std::array<float, 6> values;
    values.fill(before);
    damage(std::as_writable_bytes(std::span(values)));
    EXPECT_GT(std::abs(values[0] - before), 0.4F * std::max(1.F, std::abs(before))) << before;
    EXPECT_EQ(values[1], before) << "one word in five";
  }
  std::array<char, 3> bytes{'a', 'b', 'c'};
  damage(std::as_writable_bytes(std::span(bytes)));
  EXPECT_NE(bytes[0], 'a');
}

TEST(EmulatedMetalEnd, TheDeviceExecutesWhatIsCommittedBeforeItEndsAndDoesNotTakeItsTime) {
  FaultModel model = quick();
  model.device.execute = 1h;
  bool ran = false;
  {
    Device device(model);
    device.initialise();
    device.stream(0).run_sync([&] {
      device.stream(0).encoder().encode({.classes = OpClass::kRaw, .kernel = [&] { ran = true; }});
      device.stream(0).commit();
    });
  }
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace streamgate::executor::metal
