// SPDX-License-Identifier: Apache-2.0
//
// Learned classes: the first runs are restrictive, later ones are what those showed, and nothing is
// believed of a run that showed too little.
#include <streamgate/executor.h>
#include <streamgate/executor/backends/emulator.h>
#include <streamgate/executor/learned_class.h>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../support/executors.h"

namespace {

/// An operator without a row, and with work of its own on every device it knows.
at::Tensor ours_fused(const at::Tensor& x) { return at::exp(x); }
/// One that is made of others alone.
at::Tensor ours_composite(const at::Tensor& x) { return at::exp(x) + at::sin(x); }

TORCH_LIBRARY(streamgate_learned_class_test, library) {
  library.def("fused(Tensor x) -> Tensor");
  library.impl("fused", c10::DispatchKey::CPU, TORCH_FN(ours_fused));
  library.def("composite(Tensor x) -> Tensor", TORCH_FN(ours_composite));
}

at::Tensor call(const char* name, const at::Tensor& x) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(name, "")
      .typed<at::Tensor(const at::Tensor&)>()
      .call(x);
}

}  // namespace

namespace streamgate::testing {
namespace {

/// Operations have classes there, of libtorch 2.9, and the device does not fail.
Config emulator_config() {
  Config config = inline_config();
  config.executor.backend = "emulator";
  return config;
}

/// Ended well, in the lane of these classes.
std::uint64_t ok_in(const Executor& executor, OpClassSet classes) {
  return executor.snapshot().lanes[classes.lane()].outcomes[index_of(Outcome::kOk)];
}

TEST(LearnedClass, FirstRunsAreRestrictiveAndLaterOnesOfTheClassLearned) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("squares");
  const at::Tensor x = at::zeros({4});
  for (std::size_t i = 0; i < LearnedClass::kRuns; ++i) {
    EXPECT_FALSE(learned.learned());
    EXPECT_EQ(learned.op_class(), policies::kUnknownOpClass);
    ASSERT_TRUE(executor.submit({.learn = &learned}, [&] { return at::exp(x) * x; }).get());
  }
  EXPECT_TRUE(learned.learned());
  EXPECT_EQ(learned.op_class(), OpClassSet(OpClass::kRaw));
  EXPECT_EQ(ok_in(executor, policies::kUnknownOpClass), LearnedClass::kRuns);
  ASSERT_TRUE(executor.submit({.learn = &learned}, [&] { return at::exp(x) * x; }).get());
  ASSERT_TRUE(executor.run({.learn = &learned}, [&] { return at::exp(x) * x; }));
  EXPECT_EQ(ok_in(executor, OpClass::kRaw), 2U);

  const auto operations = learned.operations();
  ASSERT_EQ(operations.size(), 2U) << learned.to_string();
  EXPECT_EQ(operations[0].operation, "aten::exp");
  EXPECT_EQ(operations[1].operation, "aten::mul.Tensor");
  EXPECT_EQ(operations[0].count, LearnedClass::kRuns) << "a run that was not asked was listened to";
}

TEST(LearnedClass, IsTheUnionOverTheRuns) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("alternates", 2);
  const at::Tensor x = at::ones({4, 4});
  ASSERT_TRUE(executor.run({.learn = &learned}, [&] { return at::sin(x); }));
  EXPECT_FALSE(learned.learned());
  ASSERT_TRUE(executor.run({.learn = &learned}, [&] { return at::prod(x); }));
  EXPECT_TRUE(learned.learned());
  EXPECT_EQ(learned.op_class(), OpClassSet(OpClass::kGraph)) << learned.to_string();
}

TEST(LearnedClass, ARunThatFailedDoesNotCountButWhatItShowedDoes) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("fails", 1);
  const at::Tensor x = at::ones({4});
  EXPECT_THROW(executor.run({.learn = &learned},
                            [&] {
                              (void)at::prod(x);
                              throw std::runtime_error("half way");
                            }),
               std::runtime_error);
  EXPECT_FALSE(learned.learned());
  ASSERT_TRUE(executor.run({.learn = &learned}, [&] { return at::sin(x); }));
  EXPECT_EQ(learned.op_class(), OpClassSet(OpClass::kGraph)) << learned.to_string();
}

TEST(LearnedClass, ARunWithoutOperatorsTeachesNothing) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("elsewhere", 1);
  const at::Tensor x = at::ones({4});
  // Its operators run where nobody listens: it must not pass for raw.
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(
        executor.run({.learn = &learned}, [&] { std::jthread([&] { (void)at::prod(x); }); }));
  }
  EXPECT_FALSE(learned.learned());
  EXPECT_EQ(learned.op_class(), policies::kUnknownOpClass);
}

TEST(LearnedClass, AnUnknownOperatorIsRestrictiveThoughWhatItCallsIsNot) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("fused", 1);
  const at::Tensor x = at::zeros({4});
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(executor.run({.learn = &learned}, [&] {
      return call("streamgate_learned_class_test::fused", x) +
             call("streamgate_learned_class_test::fused", x);
    }));
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(learned.learned());
  EXPECT_EQ(learned.op_class(), policies::kUnknownOpClass) << learned.to_string();
  EXPECT_NE(log.find("streamgate_learned_class_test::fused"), log.npos);
  EXPECT_EQ(log.find("streamgate_learned_class_test::fused"),
            log.rfind("streamgate_learned_class_test::fused"))
      << "named once: " << log;
  EXPECT_GE(executor.snapshot().unknown_operations, 1U);
}

TEST(LearnedClass, AnUnknownOperatorThatIsMadeOfOthersIsWhatItCalls) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("composite", 1);
  const at::Tensor x = at::zeros({4});
  ASSERT_TRUE(executor.run({.learn = &learned},
                           [&] { return call("streamgate_learned_class_test::composite", x); }));
  EXPECT_EQ(learned.op_class(), OpClassSet(OpClass::kRaw)) << learned.to_string();
  EXPECT_EQ(learned.operations().size(), 3U) << learned.to_string();
}

TEST(LearnedClass, TheCallersWordComesFirst) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("said", 1);
  const at::Tensor x = at::zeros({4});
  ASSERT_TRUE(
      executor.run({.op_class = OpClass::kKernel, .learn = &learned}, [&] { return at::exp(x); }));
  EXPECT_EQ(ok_in(executor, OpClass::kKernel), 1U);
  EXPECT_FALSE(learned.learned());
  EXPECT_TRUE(learned.operations().empty());
}

TEST(LearnedClass, NestedRunsTeachBothAndAPlainTaskNobody) {
  Executor executor({.config = emulator_config()});
  LearnedClass outer("outer", 1);
  LearnedClass inner("inner", 1);
  const at::Tensor x = at::ones({4});
  ASSERT_TRUE(executor.run({.learn = &outer}, [&] {
    (void)at::sin(x);
    ASSERT_TRUE(executor.run({.learn = &inner}, [&] { return at::prod(x); }));
  }));
  ASSERT_TRUE(executor.run([&] { return at::exp(x); }));
  EXPECT_EQ(inner.operations().size(), 1U) << inner.to_string();
  EXPECT_EQ(outer.operations().size(), 2U) << outer.to_string();
  EXPECT_EQ(outer.op_class(), OpClassSet(OpClass::kGraph));
}

TEST(LearnedClass, SaysWhatItLearned) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("encoder", 1);
  EXPECT_EQ(learned.to_string(), "encoder: kernel+graph, still learning after 0 runs\n");
  const at::Tensor x = at::ones({4});
  ASSERT_TRUE(executor.run({.learn = &learned}, [&] { return at::exp(at::prod(x)); }));
  EXPECT_EQ(learned.to_string(),
            "encoder: graph, learned from 1 run\n  aten::exp x 1: raw\n  aten::prod x 1: graph\n");
}

TEST(LearnedClass, ManyThreadsMayLearnOneAtOnce) {
  Executor executor({.config = emulator_config()});
  LearnedClass learned("shared", 8);
  const at::Tensor x = at::ones({4});
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i) {
          EXPECT_TRUE(executor.run({.learn = &learned}, [&] { return at::exp(x) + x; }));
        }
      });
    }
  }
  EXPECT_TRUE(learned.learned());
  EXPECT_EQ(learned.op_class(), OpClassSet(OpClass::kRaw)) << learned.to_string();
  EXPECT_EQ(ok_in(executor, OpClass::kRaw) + ok_in(executor, policies::kUnknownOpClass), 80U);
  EXPECT_GT(ok_in(executor, OpClass::kRaw), 0U);
}

}  // namespace
}  // namespace streamgate::testing
