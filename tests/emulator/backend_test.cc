// SPDX-License-Identifier: Apache-2.0
//
// The backend `emulator`: what it says of itself, when a task's work is done, and which of
// libtorch's operators it encodes.
#include <streamgate/executor/backends/emulator/metal.h>
#include <streamgate/policies/shipped_fault_models.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "../support/event.h"
#include "../support/executors.h"
#include "emulated.h"

namespace streamgate::testing {
namespace {

namespace emulator = executor::emulator;
using policies::FaultModel;

FaultModel quick() {
  FaultModel model;
  model.device.encode = model.device.execute = std::chrono::microseconds(0);
  return model;
}

/// Keeps the names of what was encoded.
class Encoded {
 public:
  [[nodiscard]] ExecutorOptions options(const FaultModel& model = quick()) {
    ExecutorOptions made = emulated(model);
    made.backend =
        executor::make_emulator_backend({.model = model, .classify = [this](std::string_view name) {
                                           const std::lock_guard lock(mutex_);
                                           names_.emplace_back(name);
                                           return class_of_operator(name);
                                         }});
    return made;
  }
  [[nodiscard]] std::vector<std::string> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(names_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> names_;
};

using Names = std::vector<std::string>;

TEST(EmulatorBackend, SaysWhichFaultModelItHas) {
  const auto provenance = [](const FaultModel& model) {
    return executor::make_emulator_backend({.model = model})->provenance();
  };
  const auto one = provenance(quick());
  EXPECT_EQ(one.backend, "emulator");
  EXPECT_EQ(one.device.rfind("emulated Metal, fault model ", 0), 0U) << one.device;
  EXPECT_EQ(one, provenance(quick())) << "limits would not hold for what they were measured on";
  FaultModel other = quick();
  other.classes[0].safe_threads = 5;
  EXPECT_NE(one, provenance(other)) << "limits would hold on another device";
}

TEST(EmulatorBackend, IsMadeFromTheConfigWithAShippedFaultModel) {
  Config config;
  config.executor.backend = "emulator";
  config.executor.threads = 1;
  config.emulator.fault_model = "seeds-nograph";
  const Executor made({.config = config});
  EXPECT_EQ(made.provenance(),
            executor::make_emulator_backend({.model = policies::find_fault_model("seeds-nograph")})
                ->provenance());
  config.emulator.fault_model = "no-such-model";
  EXPECT_THROW(Executor({.config = config}), policies::FaultModelError);
}

TEST(EmulatorBackend, TreatsAClosureWithoutAClassAsTheMostRestrictive) {
  Executor executor(emulated(quick()));
  EXPECT_TRUE(executor.run([] {}));
  const auto lane = policies::kUnknownOpClass.lane();
  EXPECT_EQ(executor.snapshot().lanes[lane].outcomes[index_of(Outcome::kOk)], 1U);
}

TEST(EmulatorBackend, ATaskHasEndedWhenTheDeviceIsDoneAndNotBefore) {
  Executor executor(emulated(quick()));
  Event let_run;
  bool ran = false;
  auto future = executor.submit({.op_class = OpClass::kGraph}, [&] {
    emulator::encode(OpClass::kGraph, "slow", [&] {
      EXPECT_TRUE(let_run.wait());
      ran = true;
    });
  });
  auto other = executor.submit({.op_class = OpClass::kRaw}, [] { return 1; });
  EXPECT_EQ(other.get().value(), 1);  // The worker did not wait for the device.
  EXPECT_TRUE(eventually([&] {
    return executor.snapshot().gates[policies::index_of(OpClass::kGraph)].in_use == 1;
  })) << "the permit was given back before the device was done";
  EXPECT_FALSE(future.ready());
  let_run.set();
  EXPECT_TRUE(future.get());
  EXPECT_TRUE(ran);
  drain_all(executor);
}

TEST(EmulatorBackend, SynchronizeInATaskWaitsAndRethrowsWhatAKernelThrew) {
  Executor executor(emulated(quick()));
  const auto ran = executor.run({.op_class = OpClass::kRaw}, [] {
    int value = 0;
    emulator::encode(OpClass::kRaw, "store", [&] { value = 7; });
    emulator::synchronize();
    return value;
  });
  EXPECT_EQ(ran.value(), 7);
  EXPECT_THROW((void)executor.run({.op_class = OpClass::kRaw},
                                  [] {
                                    emulator::encode(OpClass::kRaw, "bad", [] {
                                      throw std::runtime_error("shapes do not match");
                                    });
                                    emulator::synchronize();
                                  }),
               std::runtime_error);
  // Nor does it reach the next task when nobody synchronised.
  EXPECT_TRUE(executor.run({.op_class = OpClass::kRaw}, [] {
    emulator::encode(OpClass::kRaw, "bad", [] { throw std::runtime_error("unheard"); });
  }));
  EXPECT_TRUE(executor.run({.op_class = OpClass::kRaw}, [] { emulator::synchronize(); }));
}

TEST(EmulatorBackend, OutsideATaskThereIsNoStream) {
  EXPECT_EQ(emulator::current_stream(), nullptr);
  EXPECT_THROW(emulator::encode(OpClass::kRaw, "lost", [] {}), std::logic_error);
  EXPECT_THROW(emulator::synchronize(), std::logic_error);
}

// ---- operators ----

TEST(EmulatedOperators, OfATaskAreEncodedByTheirOutermostName) {
  Encoded encoded;
  Executor executor(encoded.options());
  const at::Tensor x = at::randn({4, 8});
  const at::Tensor weight = at::randn({2, 8});
  EXPECT_TRUE(executor.run([&] { return at::linear(x, weight); }));
  EXPECT_EQ(encoded.take(), Names{"aten::linear"});
  EXPECT_TRUE(executor.submit([&] { return x + x; }).get());
  EXPECT_EQ(encoded.take(), Names{"aten::add"});
  static_cast<void>(at::linear(x, weight));
  EXPECT_EQ(encoded.take(), Names{}) << "outside a task";
}

TEST(EmulatedOperators, ViewsEncodeNothingAndWhatCopiesAfterAllDoes) {
  Encoded encoded;
  Executor executor(encoded.options());
  const at::Tensor x = at::randn({4, 8});
  EXPECT_TRUE(executor.run([&] {
                        return x.t().view({2, 4, 4}).select(0, 1);
                      })
                  .ok() ||
              true);  // Its shape may not be viewed so; that it does not encode is what counts.
  EXPECT_EQ(encoded.take(), Names{});
  EXPECT_TRUE(executor.run([&] { return x.t().contiguous(); }));
  EXPECT_EQ(encoded.take(), Names{"aten::clone"});
}

TEST(EmulatedOperators, AreDoneWhenANumberOfThemIsReadBack) {
  Encoded encoded;
  Executor executor(encoded.options());
  const auto ran = executor.run([&] {
    const at::Tensor sum = at::ones({4}).sum();
    EXPECT_TRUE(emulator::current_stream()->busy());
    const float value = sum.item<float>();
    EXPECT_FALSE(emulator::current_stream()->busy());
    return value;
  });
  EXPECT_EQ(ran.value(), 4.F);
  const Names names = encoded.take();
  EXPECT_EQ(std::count(names.begin(), names.end(), "aten::item"), 0);
}

TEST(EmulatedOperators, OfTheHostAreNotEncoded) {
  Encoded encoded;
  Executor executor(encoded.options());
  EXPECT_TRUE(executor.run([&] {
    const emulator::HostWork host;
    return at::ones({4});
  }));
  EXPECT_EQ(encoded.take(), Names{});
  EXPECT_TRUE(executor.run([&] { return at::ones({4}); }));
  EXPECT_EQ(encoded.take(), Names{"aten::ones"});
}

/// Many threads, one class beyond its safe width, and a fault that harms only numbers.
int wrong_results(std::size_t ceiling) {
  FaultModel model = quick();
  model.device.execute = std::chrono::microseconds(100);
  model.classes[policies::index_of(OpClass::kGraph)] = {
      .safe_threads = 1, .rule = {.fault = policies::Fault::kCorrupt}};
  ExecutorOptions options = emulated(model);
  options.config = with_gate(options.config, OpClass::kGraph, ceiling, ceiling);
  Executor executor(std::move(options));
  const at::Tensor x = at::randn({8, 8});
  const at::Tensor expected = x.mm(x);
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) {
          const auto product = executor.run({.op_class = OpClass::kGraph}, [&] { return x.mm(x); });
          if (!at::allclose(*product, expected)) ++wrong;
        }
      });
    }
  }
  return wrong;
}

TEST(EmulatedOperators, AreCorruptedBeyondTheSafeWidthAndOnlyThere) {
  EXPECT_GT(wrong_results(4), 0);
  EXPECT_EQ(wrong_results(1), 0);
}

}  // namespace
}  // namespace streamgate::testing
