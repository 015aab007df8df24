// SPDX-License-Identifier: Apache-2.0
//
// Calls on a device with graphs, on the CPU: which are captured, which cannot be, and that nobody
// sees a difference but in the counters. On a GPU: tests/cuda.
#include <streamgate/executor.h>
#include <streamgate/executor/internal/module_registry.h>
#include <streamgate/executor/internal/package_target.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../support/executors.h"
#include "../support/stand_in_graphs.h"
#include "module_files.h"

namespace streamgate::executor {
namespace {

using c10::IValue;
using testing::count_of_ended;
using testing::ModuleFiles;

constexpr GraphUse kUses[] = {GraphUse::kNever, GraphUse::kAuto, GraphUse::kAlways};

class CallGraphTest : public ::testing::Test {
 protected:
  CallGraphTest() {
    Config config;
    config.executor.backend = "cpu";
    config.executor.threads = 2;
    config.executor.allow_oversubscription = true;
    config = testing::with_gate(config, OpClass::kRaw, 8, 8);
    executor_ = std::make_unique<Executor>(ExecutorOptions{
        .config = config,
        .graphs = [this] { return std::make_unique<testing::StandInGraphs>(account_); }});
  }
  ~CallGraphTest() override {
    executor_.reset();
    EXPECT_EQ(account_.alive, 0);
    EXPECT_EQ(account_.captures_that_met, 0);
    EXPECT_EQ(account_.replays_that_met, 0);
  }

  Operation module(
      const std::string& source,
      const std::function<void(torch::jit::Module&)>& prepare = [](torch::jit::Module&) {}) {
    const std::string name = "m" + std::to_string(modules_++);
    executor_->register_module(name, files_.save(name + ".pt", source, prepare));
    return executor_->operation(name + ".forward");
  }
  IValue run(const Operation& operation, std::vector<IValue> inputs,
             GraphUse use = GraphUse::kAuto) {
    return *executor_->run(operation, std::move(inputs), {.graph = use});
  }
  GraphsSnapshot graphs() const { return executor_->snapshot().graphs; }

  /// That it is run every time under kAuto, and that who insists is told, with a word of why.
  void expect_no_graph(const Operation& operation, const std::vector<IValue>& inputs,
                       const std::string& why) {
    for (int i = 0; i < 5; ++i) static_cast<void>(run(operation, inputs));
    EXPECT_EQ(graphs().captures, 0U) << operation.name();
    try {
      static_cast<void>(run(operation, inputs, GraphUse::kAlways));
      ADD_FAILURE() << operation.name() << " was captured";
    } catch (const NotCapturable& error) {
      const std::string text = error.what();
      EXPECT_EQ(text.find(operation.name() + ": "), 0U) << text;
      EXPECT_NE(text.find(why), text.npos) << text;
    }
  }

  testing::GraphAccount account_;
  ModuleFiles files_;
  int modules_ = 0;
  std::unique_ptr<Executor> executor_;
};

TEST_F(CallGraphTest, MethodIsRunThenCapturedThenReplayedByBothDoors) {
  const Operation twice = module("def forward(self, x):\n    return x * 2\n");
  for (int i = 0; i < 10; ++i) {
    const at::Tensor input = at::randn({4});
    const IValue result = i % 2 == 0 ? run(twice, {input}) : *executor_->call(twice, {input}).get();
    EXPECT_TRUE(at::equal(result.toTensor(), input * 2)) << i;
  }
  EXPECT_EQ(graphs().eager + graphs().replays, 10U);
  EXPECT_GE(graphs().captures, 1U);
  EXPECT_GE(graphs().replays, 4U);
  EXPECT_EQ(graphs().graphs, graphs().captures);
  EXPECT_GT(graphs().bytes, 0U);
}

TEST_F(CallGraphTest, NeverIsNeverAndAlwaysIsAsSoonAsCanBe) {
  const Operation relu = executor_->operation("aten::relu");
  for (int i = 0; i < 5; ++i) static_cast<void>(run(relu, {at::ones({2})}, GraphUse::kNever));
  EXPECT_EQ(graphs().captures, 0U);
  EXPECT_EQ(graphs().eager, 5U);
  static_cast<void>(run(relu, {at::ones({2})}, GraphUse::kAlways));
  EXPECT_EQ(graphs().captures, 1U);
  const Operation twice = module("def forward(self, x):\n    return x * 2\n");
  for (int i = 0; i < 2; ++i) static_cast<void>(run(twice, {at::ones({2})}, GraphUse::kAlways));
  EXPECT_EQ(graphs().captures, 1U) << "while libtorch still compiles it";
  static_cast<void>(run(twice, {at::ones({2})}, GraphUse::kAlways));
  EXPECT_EQ(graphs().captures, 2U);
}

TEST_F(CallGraphTest, WhatIsNoTensorIsPartOfTheCall) {
  const Operation add = executor_->operation("aten::add.Tensor");
  const Operation cat = executor_->operation("aten::cat");
  const at::Tensor x = at::arange(6, at::kFloat).reshape({2, 3});
  for (int i = 0; i < 6; ++i) {
    for (const int alpha : {1, 2, 3}) {
      EXPECT_TRUE(at::equal(run(add, {x, x, alpha}).toTensor(), x + alpha * x)) << alpha;
    }
    for (const int dimension : {0, 1}) {
      const c10::List<at::Tensor> both({x, x + 1});
      EXPECT_TRUE(
          at::equal(run(cat, {both, dimension}).toTensor(), at::cat({x, x + 1}, dimension)));
    }
  }
  EXPECT_EQ(graphs().captures, 5U);
  EXPECT_GE(graphs().replays, 15U);
}

TEST_F(CallGraphTest, ResultsComeInTheShapeThatTheyHave) {
  const Operation pair = module("def forward(self, x):\n    return x + 1, x + 2\n");
  const Operation list = module(
      "def forward(self, x, y: List[Tensor], z: Optional[Tensor] = None):\n"
      "    return [x + y[0], x + y[1]]\n");
  const Operation maximum = executor_->operation("aten::max.dim");
  const at::Tensor x = at::arange(6, at::kFloat).reshape({2, 3});
  for (const GraphUse use : kUses) {
    for (int i = 0; i < 4; ++i) {
      const auto two = run(pair, {x}, use).toTupleRef().elements();
      EXPECT_TRUE(at::equal(two[0].toTensor(), x + 1) && at::equal(two[1].toTensor(), x + 2));
      const auto sums = run(list, {x, c10::List<at::Tensor>({x, x * 2})}, use).toTensorVector();
      ASSERT_EQ(sums.size(), 2U);
      EXPECT_TRUE(at::equal(sums[0], x * 2) && at::equal(sums[1], x * 3));
      const auto most = run(maximum, {x, 1}, use).toTupleRef().elements();
      EXPECT_TRUE(at::equal(most[0].toTensor(), std::get<0>(x.max(1))));
      EXPECT_TRUE(at::equal(most[1].toTensor(), std::get<1>(x.max(1))));
    }
  }
  EXPECT_GE(graphs().replays, 12U);
}

TEST_F(CallGraphTest, WhatAGraphWouldGetWrongIsRunEachTime) {
  const at::Tensor x = at::ones({2, 3});
  expect_no_graph(executor_->operation("aten::add_.Tensor"), {x.clone(), x}, "writes");
  expect_no_graph(executor_->operation("aten::bernoulli"), {x * 0.5}, "random");
  expect_no_graph(executor_->operation("aten::t"), {x}, "share memory");
  expect_no_graph(module("def forward(self, x):\n    return {'sum': x.sum()}\n"), {x},
                  "not made of tensors");
  expect_no_graph(executor_->operation("aten::ones"), {c10::List<std::int64_t>({2})},
                  "no tensor among");
}

TEST_F(CallGraphTest, ModuleThatRemembersOnTheHostIsRunEachTime) {
  const Operation counting =
      module("def forward(self, x):\n    self.count = self.count + 1\n    return x + self.count\n",
             [](torch::jit::Module& m) { m.register_attribute("count", c10::IntType::get(), 0); });
  for (int i = 1; i <= 8; ++i) {
    EXPECT_EQ(run(counting, {at::zeros({1})}).toTensor().item<float>(), static_cast<float>(i));
  }
  EXPECT_EQ(graphs().captures, 0U);
  // What may assign, and does not with these arguments, is no such module.
  const Operation calm = module(
      "def forward(self, x):\n    if self.learning:\n        self.count = self.count + 1\n"
      "    return x + self.count\n",
      [](torch::jit::Module& m) {
        m.register_attribute("count", c10::IntType::get(), 0);
        m.register_attribute("learning", c10::BoolType::get(), false);
      });
  for (int i = 0; i < 5; ++i) static_cast<void>(run(calm, {at::zeros({1})}));
  EXPECT_GE(graphs().captures, 1U);
}

TEST_F(CallGraphTest, TheSameNameAskedForAgainIsTheSameCall) {
  const std::string name = module("def forward(self, x):\n    return x * 2\n").name();
  for (int i = 0; i < 8; ++i) {
    static_cast<void>(run(executor_->operation(name), {at::ones({2})}));
  }
  EXPECT_EQ(graphs().captures, 1U);
  EXPECT_GE(graphs().replays, 5U);
}

TEST_F(CallGraphTest, ManyCallersGetTheirOwnResults) {
  const Operation twice = module("def forward(self, x):\n    return x * 2 + 1\n");
  std::atomic<int> wrong{0};
  std::vector<std::jthread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 300; ++i) {
        const at::Tensor input = at::full({1 + i % 3}, static_cast<float>(i * 4 + caller));
        if (!at::equal(run(twice, {input}).toTensor(), input * 2 + 1)) ++wrong;
      }
    });
  }
  callers.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(graphs().replays + graphs().eager, 1'200U);
  EXPECT_GT(graphs().replays, 0U);
}

TEST_F(CallGraphTest, CallThatIsToBeCapturedHereGoesToNoWorker) {
  const Operation relu = executor_->operation("aten::relu");
  EXPECT_THROW(static_cast<void>(executor_->run(
                   relu, {at::ones({2})}, {.place = Place::kWorker, .graph = GraphUse::kAlways})),
               OperationError);
}

TEST(CallWithoutGraphs, AutoIsRunAndAlwaysIsRefusedAtTheDoor) {
  Config config;
  config.executor.backend = "cpu";
  Executor executor(ExecutorOptions{.config = config});
  const Operation relu = executor.operation("aten::relu");
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(executor.run(relu, {at::ones({2})}, {.data = Data::kHost}).ok());
  }
  const std::uint64_t ended = count_of_ended(executor.snapshot());
  try {
    static_cast<void>(executor.call(relu, {at::ones({2})}, {.graph = GraphUse::kAlways}));
    ADD_FAILURE() << "not refused";
  } catch (const OperationError& error) {
    EXPECT_NE(std::string(error.what()).find("backend cpu"), std::string::npos) << error.what();
  }
  EXPECT_EQ(count_of_ended(executor.snapshot()), ended);
  EXPECT_EQ(executor.snapshot().graphs.eager, 0U) << "there is no cache that could count";
}

TEST(Packages, TextIsNoPackage) {
  ModuleFiles files;
  Executor executor;
  try {
    executor.register_module("p", files.write("p.pt2", "text"));
    ADD_FAILURE() << "loaded";
  } catch (const OperationError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("package p"), text.npos) << text;
    EXPECT_NE(text.find("remedy"), text.npos) << text;
  }
}

TEST(Packages, LeavesOfACallSpecAreCounted) {
  const std::string leaf = R"({"type": null, "context": null, "children_spec": []})";
  const std::string tight = R"({"type":null,"context":null,"children_spec":[]})";
  const std::string spec =
      R"([1, {"type": "builtins.tuple", "context": "null", "children_spec": [)" + leaf + "," +
      tight + R"(, {"type": "builtins.dict", "context": "[]", )" + R"("children_spec": []}]}])";
  EXPECT_EQ(leaves_of(spec), 2U);
  EXPECT_EQ(leaves_of("[1, " + leaf + "]"), 1U);
  EXPECT_EQ(leaves_of(""), 0U);
}

}  // namespace
}  // namespace streamgate::executor
