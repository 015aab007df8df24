// SPDX-License-Identifier: Apache-2.0
//
// Operations by name: what is found, what is refused and in which words, and what is known of an
// operation before it runs.
#include <streamgate/executor.h>
#include <streamgate/executor/internal/module_registry.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include <optional>
#include <string>
#include <vector>

#include "module_files.h"

namespace streamgate::executor {
namespace {

using c10::IValue;
using testing::ModuleFiles;

class OperationTest : public ::testing::Test {
 protected:
  Operation resolve(const std::string& name) const {
    return Operation::resolve(name, modules_, nullptr);
  }
  IValue run(const std::string& name, std::vector<IValue> inputs) const {
    const Operation operation = resolve(name);
    return operation.run(operation.bind(std::move(inputs)));
  }
  Effects effects(const std::string& name, std::vector<IValue> inputs) const {
    const Operation operation = resolve(name);
    return operation.effects(operation.bind(std::move(inputs)));
  }
  /// What resolving, or binding, throws.
  std::string refusal(const std::string& name,
                      std::optional<std::vector<IValue>> inputs = std::nullopt) const {
    try {
      const Operation operation = resolve(name);
      if (inputs) static_cast<void>(operation.bind(*std::move(inputs)));
    } catch (const OperationError& error) {
      return error.what();
    }
    return "";
  }
  static void expect_says(const std::string& text, std::vector<std::string> parts) {
    for (const std::string& part : parts) {
      EXPECT_NE(text.find(part), text.npos) << "\"" << part << "\" is not in: " << text;
    }
  }

  ModuleRegistry modules_{"cpu"};
  ModuleFiles files_;
  const at::Tensor a_ = at::arange(6, at::kFloat).reshape({2, 3});
  const at::Tensor b_ = at::arange(12, at::kFloat).reshape({4, 3});
};

// ---- operators ----

TEST_F(OperationTest, AnOperatorIsFoundByNameAndGivesWhatItGives) {
  EXPECT_TRUE(at::equal(run("aten::linear", {a_, b_}).toTensor(), at::linear(a_, b_)));
  EXPECT_TRUE(at::equal(run("aten::add.Tensor", {a_, a_, 2}).toTensor(), at::add(a_, a_, 2)))
      << "arguments by keyword only come by position";
  EXPECT_EQ(resolve("aten::add.Tensor").name(), "aten::add.Tensor");
  EXPECT_EQ(resolve("aten::linear").kind(), Operation::Kind::kOperator);
  expect_says(resolve("aten::linear").signature(), {"aten::linear(Tensor input, Tensor weight"});
}

TEST_F(OperationTest, SeveralResultsComeAsATuple) {
  const IValue result = run("aten::max.dim", {a_, 1});
  ASSERT_TRUE(result.isTuple());
  ASSERT_EQ(result.toTupleRef().elements().size(), 2U);
  EXPECT_TRUE(at::equal(result.toTupleRef().elements()[0].toTensor(), std::get<0>(at::max(a_, 1))));
}

TEST_F(OperationTest, ARunRecordsNoGradients) {
  const at::Tensor weight = b_.clone().requires_grad_();
  EXPECT_FALSE(run("aten::linear", {a_, weight}).toTensor().requires_grad());
}

TEST_F(OperationTest, AnUnknownNameIsRefusedWithTheOverloadsThatThereAre) {
  expect_says(refusal("ours::nothing"), {"no operator ours::nothing", "load the library"});
  expect_says(refusal("aten::add.Nothing"), {"aten::add.Nothing", "Scalar", "Tensor"});
  expect_says(refusal("encoder.forward"), {"\"encoder.forward\" names no operation"});
  expect_says(refusal(""), {"names no operation"});
}

TEST_F(OperationTest, AnArgumentOfAnotherTypeIsNamedWithWhatWasExpectedAndGot) {
  expect_says(refusal("aten::linear", {{a_, 3}}),
              {"aten::linear", "argument 'weight' (1)", "expects Tensor", "got int"});
  expect_says(refusal("aten::softmax.int", {{a_, "rows"}}),
              {"argument 'dim' (1)", "expects int", "got str"});
  expect_says(refusal("aten::dropout", {{a_, 1, false}}), {"'p' (1)", "expects float", "got int"});
  expect_says(refusal("aten::linear", {{a_, IValue()}}), {"'weight' (1)", "got None"});
}

TEST_F(OperationTest, TooManyAndTooFewArgumentsAreRefused) {
  expect_says(refusal("aten::linear", {{a_}}), {"argument 'weight' (1) is missing", "Tensor"});
  expect_says(refusal("aten::linear", {{a_, b_, IValue(), 1}}), {"at most 3", "got 4"});
}

TEST_F(OperationTest, WhatIsLeftOutIsTheDefault) {
  const std::vector<IValue> bound = resolve("aten::linear").bind({a_, b_});
  ASSERT_EQ(bound.size(), 3U);
  EXPECT_TRUE(bound[2].isNone());
}

// ---- effects ----

TEST_F(OperationTest, ASchemaTellsTheEffects) {
  EXPECT_EQ(effects("aten::linear", {a_, b_}), Effects::kNone);
  EXPECT_EQ(effects("aten::add_.Tensor", {a_, a_}), Effects::kWrites);
  EXPECT_EQ(effects("aten::add.out", {a_, a_, 1, a_}), Effects::kWrites);
  EXPECT_EQ(effects("aten::rand_like", {a_}), Effects::kChance);
  EXPECT_EQ(effects("aten::normal.Tensor_float", {a_}), Effects::kChance);
  EXPECT_EQ(effects("aten::bernoulli", {a_}), Effects::kChance);
}

TEST_F(OperationTest, ADropoutThatDropsNothingDrawsNothing) {
  EXPECT_EQ(effects("aten::dropout", {a_, 0.5, true}), Effects::kChance);
  EXPECT_EQ(effects("aten::dropout", {a_, 0.5, false}), Effects::kNone);
  const auto lstm = [&](double dropout, bool train) {
    return effects("aten::lstm.input",
                   {a_, std::vector<at::Tensor>{a_, a_}, std::vector<at::Tensor>{b_}, false, 1,
                    dropout, train, false, false});
  };
  EXPECT_EQ(lstm(0.5, true), Effects::kChance);
  EXPECT_EQ(lstm(0.0, true), Effects::kNone);
  EXPECT_EQ(lstm(0.5, false), Effects::kNone);
}

TEST_F(OperationTest, ViewsAreKnown) {
  EXPECT_TRUE(resolve("aten::t").gives_views());
  EXPECT_TRUE(resolve("aten::reshape").gives_views()) << "it may be one";
  EXPECT_FALSE(resolve("aten::linear").gives_views());
}

// ---- modules ----

constexpr const char* kScaled = R"(
def forward(self, x):
    return x * self.scale
def shifted(self, x, by: int = 2):
    return x + by
)";

void with_scale(torch::jit::Module& module) {
  module.register_parameter("scale", at::full({3}, 2.0), false);
}

TEST_F(OperationTest, AMethodOfARegisteredModuleIsFoundByName) {
  static_cast<void>(modules_.add({.name = "m", .path = files_.save("m.pt", kScaled, with_scale)}));
  EXPECT_TRUE(at::equal(run("m.forward", {a_}).toTensor(), a_ * 2));
  EXPECT_TRUE(at::equal(run("m.shifted", {a_}).toTensor(), a_ + 2));
  EXPECT_TRUE(at::equal(run("m.shifted", {a_, 5}).toTensor(), a_ + 5));
  EXPECT_EQ(resolve("m.forward").kind(), Operation::Kind::kMethod);
  EXPECT_EQ(effects("m.forward", {a_}), Effects::kNone);
  expect_says(refusal("m.backward"), {"module m has no method backward", "forward", "shifted"});
  expect_says(refusal("m.shifted", {{a_, "x"}}), {"'by' (1)", "expects int", "got str"});
  expect_says(refusal("m.forward", {{a_, a_}}), {"at most 1 arguments, got 2"});
}

TEST_F(OperationTest, AMethodRunsAfterItsRegistryHasGone) {
  std::optional<ModuleRegistry> registry("cpu");
  static_cast<void>(registry->add({.name = "m", .path = files_.save("m.pt", kScaled, with_scale)}));
  const Operation forward = Operation::resolve("m.forward", *registry, nullptr);
  registry.reset();
  EXPECT_TRUE(at::equal(forward.run(forward.bind({a_})).toTensor(), a_ * 2));
}

TEST_F(OperationTest, AModuleIsLoadedForEvaluation) {
  const auto path = files_.save("m.pt", "def forward(self, x):\n    return self.training\n",
                                [](torch::jit::Module& module) {
                                  module.register_attribute("training", c10::BoolType::get(), true);
                                });
  static_cast<void>(modules_.add({.name = "m", .path = path}));
  EXPECT_FALSE(run("m.forward", {a_}).toBool());
}

TEST_F(OperationTest, ANameStandsForOneContent) {
  const auto path = files_.save("m.pt", kScaled, with_scale);
  const ModuleFile file = modules_.add({.name = "m", .path = path});
  EXPECT_EQ(modules_.add({.name = "m", .path = path}), file) << "the same again";
  const auto other = files_.save("other.pt", "def forward(self, x):\n    return x\n");
  EXPECT_THROW(static_cast<void>(modules_.add({.name = "m", .path = other})), OperationError);
  EXPECT_TRUE(at::equal(run("m.forward", {a_}).toTensor(), a_ * 2)) << "it is what it was";
  EXPECT_EQ(modules_.files(), std::vector<ModuleFile>{file});
}

TEST_F(OperationTest, AFileThatChangedSinceIsRefused) {
  const auto path = files_.save("m.pt", kScaled, with_scale);
  const ModuleFile file = modules_.add({.name = "m", .path = path});
  ModuleRegistry elsewhere("cpu");
  EXPECT_EQ(elsewhere.add(file), file);
  static_cast<void>(files_.save("m.pt", "def forward(self, x):\n    return x\n"));
  ModuleRegistry late("cpu");
  EXPECT_THROW(static_cast<void>(late.add(file)), OperationError);
}

TEST_F(OperationTest, AFileThatIsNoModuleIsRefusedWithItsName) {
  const auto refusal_of = [&](ModuleFile file) -> std::string {
    try {
      static_cast<void>(modules_.add(std::move(file)));
    } catch (const OperationError& error) {
      return error.what();
    }
    return "";
  };
  expect_says(refusal_of({.name = "m", .path = files_.write("text.pt", "hello, not a module")}),
              {"module m", "text.pt", "no TorchScript module"});
  expect_says(refusal_of({.name = "m", .path = files_.write("empty.pt", "")}), {"empty.pt"});
  expect_says(refusal_of({.name = "m", .path = "/nowhere/m.pt"}), {"/nowhere/m.pt"});
  expect_says(refusal_of({.name = "m", .path = "/"}), {"is not a file"});
  expect_says(refusal_of({.name = "a.b", .path = "/"}), {"a.b", "dot"});
  expect_says(refusal_of({.name = "", .path = "/"}), {"not empty"});
  EXPECT_TRUE(modules_.files().empty());
}

}  // namespace
}  // namespace streamgate::executor
