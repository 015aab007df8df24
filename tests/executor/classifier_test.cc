// SPDX-License-Identifier: Apache-2.0
//
// The class of operations and of whole TorchScript modules: what the walk of a module finds agrees
// with the table, operation by operation, and nothing that is unknown passes for harmless.
#include <streamgate/executor.h>
#include <streamgate/executor/classifier.h>
#include <streamgate/executor/internal/module_walk.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/compilation_unit.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "../support/executors.h"

namespace streamgate::executor {
namespace {

using policies::OpTable;
using policies::Situation;
using policies::TorchVersion;
using torch::jit::Module;

Situation mac(unsigned minor) {
  return {.libtorch = TorchVersion{2, minor},
          .macos = 15,
          .forced_graph_path = false,
          .contiguous = true};
}

Classifier on_mac(unsigned minor = 9) { return {OpTable::shipped(), "mps", mac(minor)}; }

Module module_of(const std::string& source, const std::string& name = "Root") {
  Module module(name);
  module.define(source);
  return module;
}

std::string class_of(const Classifier& classifier, const Module& module) {
  return std::string(to_string(classifier.classes_of(module).classes));
}

/// What the classifier writes to stderr while `act` runs.
template <typename F>
std::string logged(F act) {
  ::testing::internal::CaptureStderr();
  act();
  return ::testing::internal::GetCapturedStderr();
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// ---- the walk ----

TEST(ModuleWalk, FindsEveryTensorOperationAndHowOftenItStandsThere) {
  const Module module = module_of(R"(
def forward(self, x, w):
    y = torch.linear(x, w)
    y = torch.relu(y) + torch.relu(x)
    return y + 1
)");
  EXPECT_EQ(walk_module(module), (OperationCounts{{"aten::linear", 1},
                                                  {"aten::relu", 2},
                                                  {"aten::add.Tensor", 1},
                                                  {"aten::add.Scalar", 1}}));
}

TEST(ModuleWalk, LooksIntoBlocksWhetherTheyAreReachedOrNot) {
  const Module module = module_of(R"(
def forward(self, x, n: int):
    if n < 0:
        x = torch.sin(x)
    else:
        for i in range(n):
            if i == 3:
                x = torch.tanh(x)
    return x
)");
  EXPECT_EQ(walk_module(module), (OperationCounts{{"aten::sin", 1}, {"aten::tanh", 1}}))
      << "comparisons of numbers are the host's";
}

TEST(ModuleWalk, LooksIntoEveryMethodAndSubmodule) {
  Module inner = module_of(R"(
def forward(self, x):
    return torch.sigmoid(x)
def never_called(self, x):
    return torch.exp(x)
)",
                           "Inner");
  Module middle("Middle");
  middle.register_module("inner", inner);
  middle.define("def forward(self, x):\n    return self.inner.forward(torch.neg(x))\n");
  Module root("Root");
  root.register_module("a", middle);
  root.define("def forward(self, x):\n    return self.a.forward(x)\n");
  EXPECT_EQ(walk_module(root),
            (OperationCounts{{"aten::sigmoid", 1}, {"aten::exp", 1}, {"aten::neg", 1}}));
}

TEST(ModuleWalk, LooksIntoCalledFunctionsOnceAndThroughRecursion) {
  const torch::jit::CompilationUnit unit(R"(
def leaf(x):
    return torch.abs(x)
def called(x):
    return leaf(x) * 2
)");
  // A module's function calls what its own compilation unit cannot see by a name in the source, so
  // the call is put into the graph by hand, as a saved model has it.
  Module module = module_of("def forward(self, x):\n    return torch.neg(x)\n");
  auto& graph = *torch::jit::toGraphFunction(module.get_method("forward").function()).graph();
  torch::jit::Function& callee = unit.get_function(c10::QualifiedName("called"));
  for (int i = 0; i < 2; ++i) {
    auto* const constant = graph.create(c10::prim::Constant, 1);
    constant->s_(c10::attr::name, "called");
    constant->output()->setType(c10::FunctionType::create(&callee));
    auto* const call = graph.create(c10::prim::CallFunction, 1);
    graph.prependNode(call);
    graph.prependNode(constant);
    call->addInput(constant->output());
    call->addInput(graph.inputs().at(1));
  }
  EXPECT_EQ(walk_module(module),
            (OperationCounts{{"aten::abs", 1}, {"aten::mul.Scalar", 1}, {"aten::neg", 1}}));
}

TEST(ModuleWalk, WhatItCannotLookIntoIsNamed) {
  Module module = module_of("def forward(self, x):\n    return torch.neg(x)\n");
  auto& graph = *torch::jit::toGraphFunction(module.get_method("forward").function()).graph();
  graph.prependNode(graph.create(c10::Symbol::fromQualString("ours::fused"), 0));
  const OperationCounts counts = walk_module(module);
  EXPECT_EQ(counts.count("ours::fused"), 1U);
  EXPECT_EQ(class_of(on_mac(), module), "kernel+graph");
}

// ---- modules and the table ----

TEST(Classifier, AModuleAgreesWithTheTableOperationByOperation) {
  const Module module = module_of(R"(
def forward(self, x, w):
    y = torch.relu(torch.linear(x, w))
    y = torch.softmax(torch.mm(y, w), -1)
    y = torch.layer_norm(y, [4]) + torch.tanh(y)
    return torch.cat([y, y])
)");
  for (const unsigned minor : {9U, 10U, 12U, 14U}) {
    const Classifier classifier = on_mac(minor);
    const ModuleClasses found = classifier.classes_of(module);
    ASSERT_EQ(found.operations.size(), 8U);
    Situation here = mac(minor);
    here.backend = "mps";
    OpClassSet all = OpClass::kRaw;
    for (const OperationUse& use : found.operations) {
      const auto said = OpTable::shipped().find(use.operation, here);
      ASSERT_TRUE(said.has_value()) << use.operation;
      EXPECT_EQ(use.classes, said) << use.operation << " on 2." << minor;
      all = all | *said;
    }
    EXPECT_EQ(found.classes, all);
  }
}

TEST(Classifier, OneGraphOperationAmongRawOnesMakesTheModuleGraph) {
  const std::string raw = "def forward(self, x):\n    y = torch.sin(x) + torch.exp(x)\n";
  EXPECT_EQ(class_of(on_mac(), module_of(raw + "    return y\n")), "raw");
  EXPECT_EQ(class_of(on_mac(), module_of(raw + "    return torch.prod(y)\n")), "graph");
}

TEST(Classifier, KernelAndGraphOperationsMakeTheModuleBoth) {
  EXPECT_EQ(class_of(on_mac(), module_of("def forward(self, x, w):\n"
                                         "    return torch.prod(torch.linear(x, w))\n")),
            "kernel+graph");
}

TEST(Classifier, AModuleWithoutOperationsIsRaw) {
  EXPECT_EQ(class_of(on_mac(), module_of("def forward(self, n: int):\n    return n + 1\n")), "raw");
}

TEST(Classifier, TheLibtorchVersionDecides) {
  const Module module = module_of("def forward(self, x):\n    return torch.relu(x)\n");
  EXPECT_EQ(class_of(on_mac(11), module), "graph");
  EXPECT_EQ(class_of(on_mac(12), module), "raw");
}

// ---- unknown operations ----

TEST(Classifier, AnUnknownOperationIsRestrictiveCountedAlwaysAndLoggedOnce) {
  const Classifier classifier = on_mac();
  const std::string log = logged([&] {
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(classifier.class_of("ours::op"), policies::kUnknownOpClass);
    }
    EXPECT_EQ(classifier.class_of("ours::other"), policies::kUnknownOpClass);
    EXPECT_EQ(classifier.class_of("aten::add"), OpClassSet(OpClass::kRaw));
  });
  EXPECT_EQ(classifier.unknown_operations(), 4U);
  EXPECT_EQ(count_of(log, "ours::op on mps"), 1U) << log;
  EXPECT_EQ(count_of(log, "ours::other on mps"), 1U) << log;
  EXPECT_EQ(count_of(log, "aten::add"), 0U) << log;
}

TEST(Classifier, TheExecutorsSnapshotCountsThem) {
  Config config = testing::inline_config();
  config.executor.backend = "emulator";
  const Executor executor({.config = config});
  EXPECT_EQ(executor.snapshot().unknown_operations, 0U);
  (void)logged([&] { (void)executor.classifier().class_of("ours::op"); });
  EXPECT_EQ(executor.snapshot().unknown_operations, 1U);
}

// ---- from a config ----

TEST(Classifier, AnExecutorHasTheTableOfItsConfig) {
  const auto file = std::filesystem::temp_directory_path() /
                    ("streamgate_classifier_test_" + std::to_string(getpid()) + ".toml");
  std::ofstream(file) << "[[operations]]\nnames = [\"ours::op\"]\nbackend = \"mps\"\n"
                         "classes = \"graph\"\n";
  Config config = testing::inline_config();
  config.executor.backend = "emulator";
  config.op_table.file = file.string();
  {
    const Executor executor({.config = config});
    EXPECT_EQ(executor.classifier().class_of("ours::op"), OpClassSet(OpClass::kGraph));
  }
  std::ofstream(file) << "[[operations]]\nnames = [\"ours::op\"]\n";
  EXPECT_THROW(Executor({.config = config}), policies::OpTableError);
  std::filesystem::remove(file);
}

TEST(Classifier, TheEmulatorHasTheClassesOfTheLibtorchThatItPretendsToBe) {
  Config config = testing::inline_config();
  config.executor.backend = "emulator";
  EXPECT_EQ(Classifier(config).class_of("aten::relu"), OpClassSet(OpClass::kGraph)) << "2.9";
  config.emulator.libtorch = "2.12";
  EXPECT_EQ(Classifier(config).class_of("aten::relu"), OpClassSet(OpClass::kRaw));
}

TEST(Classifier, OnTheCpuEverythingIsRaw) {
  const Classifier classifier(testing::inline_config());
  EXPECT_EQ(classifier.class_of("ours::anything"), OpClassSet(OpClass::kRaw));
  EXPECT_EQ(classifier.unknown_operations(), 0U);
}

}  // namespace
}  // namespace streamgate::executor
