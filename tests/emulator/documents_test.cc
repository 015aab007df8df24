// SPDX-License-Identifier: Apache-2.0
//
// The eight tests of the documents that this project began with, by their names, and those that
// were asked for beside them. There they were run on a Mac; here libtorch's operators are encoded
// on the emulated Metal, which kills this process when an encode passes a safe width: so each of
// these tests also says "and nobody died".
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"
#include "emulated.h"
#include "service_models.h"

namespace streamgate::testing {
namespace {

/// So many threads run the function, each with its number.
template <typename F>
void on_threads(std::size_t count, F function) {
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < count; ++t) threads.emplace_back([&function, t] { function(t); });
}

/// One nn.Linear and its answers, made without an executor.
struct Linear {
  Linear() {
    for (int i = 0; i < 8; ++i) {
      inputs.push_back(at::randn({4, 32}));
      expected.push_back(at::linear(inputs.back(), weight));
    }
  }
  at::Tensor weight = at::randn({32, 32});
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> expected;
};

TEST(EmulatedDocuments, SimpleParallel) {
  Executor executor(emulated(deadly_model()));
  std::atomic<int> right{0};
  on_threads(2, [&](std::size_t) {
    for (int i = 0; i < 20; ++i) {
      const auto zeros = executor.run({.op_class = OpClass::kRaw}, [] { return at::zeros({8}); });
      const auto ones = executor.run({.op_class = OpClass::kGraph}, [] { return at::ones({8}); });
      const auto sum = executor.run({.op_class = OpClass::kRaw}, [&] { return *zeros + *ones; });
      if (at::equal(*sum, at::ones({8}))) ++right;
    }
  });
  EXPECT_EQ(right, 40);
  drain_all(executor);
}

TEST(EmulatedDocuments, ExtendedStress) {
  const Linear linear;
  Executor executor(emulated(deadly_model()));
  std::atomic<int> wrong{0};
  on_threads(8, [&](std::size_t t) {
    for (std::size_t i = 0; i < 150; ++i) {
      const std::size_t which = (t + i) % 8;
      const auto work = [&] { return at::linear(linear.inputs[which], linear.weight); };
      const TaskOptions options{.op_class = OpClass::kKernel};
      const auto answer =
          i % 2 == 0 ? executor.run(options, work) : executor.submit(options, work).get();
      if (!answer || !at::equal(*answer, linear.expected[which])) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
  drain_all(executor);
}

TEST(EmulatedDocuments, ThreadBoundary) {
  const Linear linear;
  Executor executor(emulated(deadly_model()));
  // At any number of threads, also beyond the one where the seeds' processes ended.
  for (std::size_t threads = 1; threads <= 8; ++threads) {
    std::atomic<int> wrong{0};
    on_threads(threads, [&](std::size_t t) {
      for (int i = 0; i < 20; ++i) {
        const auto answer = executor.run({.op_class = OpClass::kKernel}, [&] {
          return at::linear(linear.inputs[t], linear.weight);
        });
        if (!at::equal(*answer, linear.expected[t])) ++wrong;
      }
    });
    EXPECT_EQ(wrong, 0) << threads << " threads";
  }
  // And what one thread computed is whole for another.
  auto first = executor.submit({.op_class = OpClass::kGraph}, [] { return at::ones({16, 16}); });
  const at::Tensor made = *first.get();
  std::jthread([&] {
    const auto second = executor.run({.op_class = OpClass::kGraph}, [&] { return made.mm(made); });
    EXPECT_TRUE(at::equal(*second, at::full({16, 16}, 16.0)));
  }).join();
}

TEST(EmulatedDocuments, StreamAssignment) {
  Executor executor(emulated(deadly_model()));
  EXPECT_EQ(executor.run([](TaskContext& task) { return task.stream(); }).value(), 0U)
      << "the first stream is for the thread that made the executor";
  std::mutex mutex;
  std::set<std::size_t> streams;
  Countdown together(2);
  on_threads(2, [&](std::size_t) {
    const auto ran = executor.run({.op_class = OpClass::kRaw}, [&](TaskContext& task) {
      EXPECT_TRUE(together.arrive_and_wait());
      const std::lock_guard lock(mutex);
      streams.insert(task.stream());
    });
    EXPECT_TRUE(ran);
  });
  EXPECT_EQ(streams.size(), 2U) << "two tasks at once had one stream";
  EXPECT_FALSE(streams.contains(0));
  drain_all(executor);
}

TEST(EmulatedDocuments, BenchmarkLinear) {
  const Linear linear;
  Executor executor(emulated(deadly_model()));
  // As a test, without a figure: 4 threads of 10 and 8 of 50 all come to their end.
  for (const auto& [threads, each] : {std::pair(4U, 10U), std::pair(8U, 50U)}) {
    std::atomic<std::size_t> done{0};
    on_threads(threads, [&, iterations = each](std::size_t t) {
      for (std::size_t i = 0; i < iterations; ++i) {
        const auto answer = executor.run({.op_class = OpClass::kKernel}, [&] {
          return at::linear(linear.inputs[t], linear.weight);
        });
        if (answer && at::equal(*answer, linear.expected[t])) ++done;
      }
    });
    EXPECT_EQ(done, threads * each);
  }
}

TEST(EmulatedDocuments, RealModelsParallel) {
  at::manual_seed(7);
  const Transformer transformer;
  const Vocoder vocoder;
  std::vector<at::Tensor> sources, targets, bands, sentences, waves;
  for (int i = 0; i < 4; ++i) {
    sources.push_back(at::randn({2, 12, 64}));
    targets.push_back(at::randn({2, 9, 64}));
    bands.push_back(at::randn({1, 20, 24}));
    sentences.push_back(transformer.forward(sources.back(), targets.back()));
    waves.push_back(vocoder.forward(bands.back()));
  }
  ASSERT_EQ(waves[0].sizes(), at::IntArrayRef({1, 1, 24 * 16}));
  Executor executor(emulated(deadly_model()));
  std::atomic<int> wrong{0};
  on_threads(8, [&](std::size_t t) {
    for (std::size_t i = 0; i < 8; ++i) {
      const std::size_t which = (t + i) % 4;
      const auto answer =
          t % 2 == 0
              ? executor.run({.op_class = OpClass::kKernel | OpClass::kGraph},
                             [&] { return transformer.forward(sources[which], targets[which]); })
              : executor.run({.op_class = OpClass::kGraph},
                             [&] { return vocoder.forward(bands[which]); });
      const at::Tensor& expected = t % 2 == 0 ? sentences[which] : waves[which];
      if (!answer || !at::allclose(*answer, expected)) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
  drain_all(executor);
}

TEST(EmulatedDocuments, OverSubscriptionDetection) {
  policies::FaultModel model = deadly_model();
  model.device.streams = 4;
  Executor executor(emulated(model));
  std::array<Census, 4> owners;
  on_threads(16, [&](std::size_t) {
    for (int i = 0; i < 50; ++i) {
      const auto ran = executor.run({.op_class = OpClass::kRaw}, [&](TaskContext& task) {
        owners[task.stream()].enter();
        const at::Tensor x = at::zeros({4}) + 1;
        owners[task.stream()].leave();
        return x;
      });
      EXPECT_TRUE(ran);
    }
  });
  for (const Census& owner : owners) EXPECT_LE(owner.peak(), 1U) << "a stream had two owners";
  const Snapshot snapshot = executor.snapshot();
  EXPECT_EQ(snapshot.streams.slots, 4U);
  EXPECT_GT(snapshot.streams.exhausted, 0U) << "16 threads on 4 streams went unnoticed";
  drain_all(executor);
}

TEST(EmulatedDocuments, ThreadChurnWithSlotReuse) {
  Executor executor(emulated(deadly_model()));
  std::mutex mutex;
  std::set<std::size_t> streams;
  for (int round = 0; round < 60; ++round) {
    on_threads(4, [&](std::size_t) {
      const auto ran = executor.run({.op_class = OpClass::kRaw}, [&](TaskContext& task) {
        const std::lock_guard lock(mutex);
        streams.insert(task.stream());
        return at::zeros({4}) + 1;
      });
      EXPECT_TRUE(ran && ran->sum().item<float>() == 4.F);
    });
  }
  // 240 threads; each gave its stream back.
  EXPECT_LE(streams.size(), 8U);
  EXPECT_EQ(executor.snapshot().streams.exhausted, 0U);
  drain_all(executor);
}

// ---- beside the eight ----

TEST(EmulatedDocuments, MainThreadInitialisation) {
  // The device is initialised when the constructor returns: threads that start then never meet it
  // uninitialised, which would abort. That another thread cannot do it is among the deaths.
  for (int round = 0; round < 5; ++round) {
    Executor executor(emulated(deadly_model()));
    on_threads(4, [&](std::size_t) {
      EXPECT_TRUE(executor.run({.op_class = OpClass::kGraph}, [] { return at::ones({4}); }));
    });
  }
}

TEST(EmulatedDocuments, SlotExhaustion) {
  policies::FaultModel model = deadly_model();
  model.device.streams = 2;
  Executor executor(emulated(model, 8));
  // Of two streams one is kept for the constructing thread.
  Blocker blocker(executor, {.op_class = OpClass::kRaw});
  EXPECT_EQ(executor.run({.op_class = OpClass::kRaw}, [] { return 1; }).value(), 1);
  auto waiting =
      executor.submit({.op_class = OpClass::kRaw}, [] { return at::zeros({2}).numel(); });
  EXPECT_TRUE(eventually([&] { return executor.snapshot().streams.exhausted > 0; }));
  EXPECT_FALSE(waiting.ready());
  blocker.end();
  EXPECT_EQ(waiting.get().value(), 2);
  drain_all(executor);
}

TEST(EmulatedDocuments, LostWakeUp) {
  // One permit goes through 16 threads: a wake-up lost on the way would leave it lying.
  policies::FaultModel model = deadly_model();
  model.device.execute = std::chrono::microseconds(0);
  model.device.encode = std::chrono::microseconds(0);
  model.classes[policies::index_of(OpClass::kGraph)].safe_threads = 1;
  Executor executor(emulated(model));
  std::atomic<int> done{0};
  Event all;
  std::jthread watcher([&] {
    on_threads(16, [&](std::size_t t) {
      for (int i = 0; i < 250; ++i) {
        const TaskOptions options{.op_class = OpClass::kGraph};
        const auto work = [&] {
          executor::emulator::encode(OpClass::kGraph, "one", [&] { ++done; });
        };
        EXPECT_TRUE(t % 2 == 0 ? executor.run(options, work)
                               : executor.submit(options, work).get());
      }
    });
    all.set();
  });
  EXPECT_TRUE(all.wait()) << done << " of 4000 tasks ran";
  EXPECT_EQ(done, 4000);
}

}  // namespace
}  // namespace streamgate::testing
