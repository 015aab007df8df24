// SPDX-License-Identifier: Apache-2.0
//
// The promises of op tables: what the shipped one says of each operation under each condition, how
// a name is looked up, how a file lies on top, and what is refused in which words.
#include <streamgate/policies/op_table.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "../support/messages.h"

namespace streamgate::policies {
namespace {

using streamgate::testing::contains;

constexpr OpClassSet kRaw = OpClass::kRaw;
constexpr OpClassSet kKernel = OpClass::kKernel;
constexpr OpClassSet kGraph = OpClass::kGraph;
constexpr OpClassSet kExclusive = OpClass::kExclusive;

/// For messages: gtest prints a set of classes as bytes.
std::string said(std::optional<OpClassSet> classes) {
  return classes ? std::string(to_string(*classes)) : "nothing";
}

/// A Mac of macOS 15 with that libtorch, all tensors contiguous, no graph path forced.
Situation mac(unsigned minor) {
  return {.backend = "mps",
          .libtorch = TorchVersion{2, minor},
          .macos = 15,
          .forced_graph_path = false,
          .contiguous = true};
}

std::string shipped(std::string_view operation, const Situation& situation) {
  return said(OpTable::shipped().find(operation, situation));
}

OpTable extended(std::string_view toml) {
  return OpTable::shipped().extended_by_text(toml, "ours.toml");
}

/// What is wrong with the text; empty when nothing is.
std::string table_error(std::string_view toml) {
  return testing::message_of<OpTableError>([&] { (void)extended(toml); });
}

// ---- the shipped table ----

struct Expected {
  OpClassSet classes;
  std::vector<std::string_view> operations;
};

TEST(ShippedOpTable, SaysWhatThePyTorch29SourcesSay) {
  const std::vector<Expected> facts = {
      {kGraph,
       {"mm",
        "addmm",
        "conv1d",
        "conv2d",
        "conv3d",
        "softmax",
        "log_softmax",
        "batch_norm",
        "relu",
        "gelu",
        "silu",
        "elu",
        "glu",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "logical_and",
        "logical_not",
        "min",
        "max",
        "pow",
        "where",
        "clamp",
        "sum",
        "mean",
        "prod",
        "var",
        "argmax",
        "argmin",
        "all",
        "any",
        "rand",
        "randn",
        "randint",
        "ones",
        "fill_",
        "embedding",
        "index_select",
        "gather",
        "scatter",
        "index_add",
        "sort",
        "topk",
        "pad",
        "upsample_nearest2d",
        "upsample_bilinear2d",
        "cat",
        "arange",
        "mse_loss",
        "nll_loss",
        "binary_cross_entropy",
        "_lstm_mps",
        "copy_"}},
      {kKernel,
       {"linear", "linalg_lu_factor", "linalg_solve", "triangular_solve", "lu_solve", "reshape"}},
      {kRaw,
       {"add",    "sub",       "mul",         "div",        "exp",      "log",   "sin",
        "tanh",   "sqrt",      "abs",         "neg",        "sigmoid",  "erf",   "bitwise_not",
        "index",  "index_put", "masked_fill", "layer_norm", "rms_norm", "triu",  "tril",
        "cummin", "cummax",    "bucketize",   "cross",      "zeros",    "clone", "empty"}},
      {kUnknownOpClass, {"bmm", "baddbmm"}},  // A graph, or tiled by kernel objects.
  };
  for (const Expected& fact : facts) {
    for (const std::string_view operation : fact.operations) {
      EXPECT_EQ(shipped(operation, mac(9)), to_string(fact.classes)) << operation;
    }
  }
}

TEST(ShippedOpTable, MovesFromGraphToRawWithTheVersion) {
  struct Move {
    unsigned minor;
    std::vector<std::string_view> operations;
  };
  const std::vector<Move> moves = {
      {10, {"cat", "clamp", "elu", "hypot"}},
      {12, {"relu", "silu", "fill_", "minimum", "maximum", "norm"}},
      {13,
       {"sum", "mean", "any", "all", "sort", "topk", "rand", "eq", "gelu", "scatter", "gather",
        "cumsum", "copy_"}},
      {14,
       {"argmin", "argmax", "index_add", "index_select", "arange", "linspace", "upsample_nearest2d",
        "min", "max", "conv3d", "mv"}},
  };
  for (const auto& [minor, operations] : moves) {
    for (const std::string_view operation : operations) {
      EXPECT_EQ(shipped(operation, mac(minor - 1)), "graph") << operation << " before " << minor;
      EXPECT_EQ(shipped(operation, mac(minor)), "raw") << operation << " from " << minor;
    }
  }
  for (const std::string_view operation : {"conv2d", "mm", "log_softmax", "var", "prod"}) {
    EXPECT_EQ(shipped(operation, mac(14)), "graph") << operation;
  }
}

TEST(ShippedOpTable, LinearIsAsItsConditionsSay) {
  Situation here = mac(9);
  EXPECT_EQ(shipped("aten::linear", here), "kernel");
  here.contiguous = false;
  EXPECT_EQ(shipped("aten::linear", here), "graph");
  here = mac(9);
  here.macos = 14;
  EXPECT_EQ(shipped("aten::linear", here), "graph");
  here = mac(9);
  here.forced_graph_path = true;
  EXPECT_EQ(shipped("aten::linear", here), "graph");
}

TEST(ShippedOpTable, WhatIsUnknownOfTheSituationCountsAsTheWorst) {
  for (const auto forget :
       {+[](Situation& s) { s.contiguous.reset(); }, +[](Situation& s) { s.macos.reset(); },
        +[](Situation& s) { s.forced_graph_path.reset(); }}) {
    Situation here = mac(9);
    forget(here);
    EXPECT_EQ(shipped("linear", here), "kernel+graph");
  }
  Situation here = mac(14);
  here.libtorch.reset();
  EXPECT_EQ(shipped("relu", here), "graph");
}

TEST(ShippedOpTable, CompositesHaveTheUnionOfTheirMembers) {
  EXPECT_EQ(shipped("matmul", mac(14)), "kernel+graph");
  EXPECT_EQ(shipped("dropout", mac(12)), "graph") << "bernoulli";
  EXPECT_EQ(shipped("dropout", mac(13)), "raw") << "all members are, since then";
  EXPECT_EQ(shipped("ones", mac(9)), "graph");
  EXPECT_EQ(shipped("cross_entropy_loss", mac(9)), "graph");
}

TEST(ShippedOpTable, EveryOperationOfTheCpuIsRawAndTheEmulatorIsMps) {
  for (const std::string_view backend : {"cpu", "inline"}) {
    EXPECT_EQ(shipped("aten::linear", {.backend = backend}), "raw");
    EXPECT_EQ(shipped("ours::anything", {.backend = backend}), "raw");
  }
  Situation emulated = mac(9);
  emulated.backend = "emulator";
  EXPECT_EQ(shipped("linear", emulated), "kernel");
  EXPECT_EQ(shipped("mm", emulated), "graph");
}

TEST(ShippedOpTable, CudaIsRawButForCaptureAndWhatConcernsTheDevice) {
  const Situation here{.backend = "cuda", .libtorch = TorchVersion{2, 9}};
  EXPECT_EQ(shipped("aten::linear", here), "raw");
  EXPECT_EQ(shipped("aten::no_such_operator", here), "raw") << "eager operators, all of them";
  EXPECT_EQ(shipped("device::capture_graph", here), "graph");
  for (const std::string_view backend : {"cuda", "mps"}) {
    for (const std::string_view operation :
         {"device::synchronize", "device::empty_cache", "device::profile"}) {
      EXPECT_EQ(shipped(operation, {.backend = backend}), "exclusive") << backend << operation;
    }
  }
  EXPECT_EQ(shipped("ours::kernel", here), "nothing") << "nobody has looked at it";
}

TEST(ShippedOpTable, EveryRowHasASourceAndANameOnce) {
  std::set<std::string> seen;
  for (const OpTableRow& row : OpTable::shipped().rows()) {
    EXPECT_FALSE(row.source.empty()) << row.operation;
    EXPECT_TRUE(row.operation == "*" || contains(row.operation, "::")) << row.operation;
    if (row.operation != "aten::linear") {  // The one with conditions.
      EXPECT_TRUE(seen.insert(row.backend + " " + row.operation).second) << row.operation;
    }
  }
  EXPECT_GT(seen.size(), 300U);
}

// ---- how a name is looked up ----

TEST(OpTable, AnOverloadWithoutARowIsTheBaseNames) {
  EXPECT_EQ(shipped("aten::add.Tensor", mac(9)), "raw");
  EXPECT_EQ(shipped("add.Tensor", mac(9)), "raw");
  const OpTable table = extended(R"(
[[operations]]
names = ["add.out"]
backend = "mps"
classes = "graph"
)");
  EXPECT_EQ(said(table.find("aten::add.out", mac(9))), "graph");
  EXPECT_EQ(said(table.find("aten::add.Tensor", mac(9))), "raw");
}

TEST(OpTable, AnInPlaceNameWithoutARowIsTheFunctionalOnes) {
  EXPECT_EQ(shipped("aten::add_.Tensor", mac(9)), "raw");
  EXPECT_EQ(shipped("aten::relu_", mac(9)), "graph");
  EXPECT_EQ(shipped("aten::fill_.Scalar", mac(12)), "raw") << "fill_ has a row of its own";
  EXPECT_EQ(shipped("aten::__iadd__", mac(9)), "nothing") << "no in-place variant of __iadd_";
}

TEST(OpTable, UnknownNamesAreNothing) {
  EXPECT_EQ(shipped("aten::no_such_operator", mac(9)), "nothing");
  EXPECT_EQ(shipped("ours::add", mac(9)), "nothing") << "another namespace's add";
  EXPECT_EQ(shipped("", mac(9)), "nothing");
  EXPECT_EQ(shipped("::", mac(9)), "nothing");
  EXPECT_EQ(shipped("_", mac(9)), "nothing");
  EXPECT_EQ(shipped("aten::add", {.backend = "abacus"}), "nothing");
}

TEST(OpTable, ANamespaceMayHaveOneClass) {
  const OpTable table = extended(R"(
[[operations]]
names = ["ours::*"]
backend = "mps"
classes = "kernel"

[[operations]]
names = ["ours::special"]
backend = "mps"
classes = "raw"
)");
  EXPECT_EQ(said(table.find("ours::any.overload", mac(9))), "kernel");
  EXPECT_EQ(said(table.find("ours::special", mac(9))), "raw");
  EXPECT_EQ(said(table.find("ours2::any", mac(9))), "nothing");
  EXPECT_EQ(said(table.find("our::any", mac(9))), "nothing");
}

TEST(OpTable, VersionsAreReadFromWhatLibtorchSaysOfItself) {
  EXPECT_EQ(torch_version_from("2.11.0+cu130"), (TorchVersion{2, 11}));
  EXPECT_EQ(torch_version_from("1.13.1 (of the headers)"), (TorchVersion{1, 13}));
  EXPECT_EQ(torch_version_from("2.9"), (TorchVersion{2, 9}));
  for (const std::string_view text : {"", "2", "2.", ".9", "v2.9", "unknown", "2.99999"}) {
    EXPECT_FALSE(torch_version_from(text).has_value()) << text;
  }
  EXPECT_LT((TorchVersion{2, 9}), (TorchVersion{2, 10})) << "numbers, not texts";
}

// ---- a file on top ----

TEST(OpTable, AFileReplacesAllThatWasSaidOfAnOperationOnThatBackend) {
  const OpTable table = extended(R"(
[[operations]]
names = ["linear", "ours::fused"]
backend = "mps"
classes = ["graph", "kernel"]
before = "2.12"
then = "raw"
source = "our measurement"
)");
  EXPECT_EQ(said(table.find("linear", mac(9))), "kernel+graph");
  EXPECT_EQ(said(table.find("linear", mac(12))), "raw");
  EXPECT_EQ(said(table.find("ours::fused", mac(9))), "kernel+graph");
  EXPECT_EQ(said(table.find("linear", {.backend = "cuda"})), "raw") << "another backend's";
  EXPECT_EQ(said(table.find("relu", mac(9))), "graph") << "another operation's";
  EXPECT_EQ(shipped("linear", mac(9)), "kernel") << "the table below stays as it was";
}

TEST(OpTable, ACompositeFollowsWhatAFileSaysOfItsMembers) {
  const OpTable table = extended(R"(
[[operations]]
names = ["bernoulli"]
backend = "mps"
classes = "exclusive"
)");
  EXPECT_EQ(said(table.find("dropout", mac(14))), "exclusive");
}

TEST(OpTable, RowsOfOneOperationMayFollowEachOtherInVersion) {
  const OpTable table = extended(R"(
[[operations]]
names = ["ours::op"]
backend = "mps"
classes = "graph"
since = "2.5"
before = "2.9"

[[operations]]
names = ["ours::op"]
backend = "mps"
classes = "kernel"
since = "2.9"
)");
  EXPECT_EQ(said(table.find("ours::op", mac(4))), "nothing");
  EXPECT_EQ(said(table.find("ours::op", mac(8))), "graph");
  EXPECT_EQ(said(table.find("ours::op", mac(9))), "kernel");
  Situation open = mac(9);
  open.libtorch.reset();
  EXPECT_EQ(said(table.find("ours::op", open)), "kernel+graph");
}

// ---- what is refused ----

struct Refusal {
  std::string_view toml;
  std::vector<std::string_view> words;
};

TEST(OpTable, WhatIsWrongIsNamedWithFileLineKeyAndWhatIsAllowed) {
  const std::string head = "[[operations]]\nnames = [\"ours::op\"]\nbackend = \"mps\"\n";
  const std::vector<Refusal> refusals = {
      {"classes = \"grpah\"", {"ours.toml:4: operations.classes", "\"grpah\"", "\"graph\""}},
      {"classes = [\"raw\", 3]", {"ours.toml:4: operations.classes[]", "\"kernel\""}},
      {"classes = []", {"ours.toml:4: operations.classes is empty"}},
      {"classes = \"raw\"\nsince = \"2\"", {"ours.toml:5: operations.since", "as \"2.9\""}},
      {"classes = \"raw\"\nsince = 2.9", {"ours.toml:5: operations.since", "as \"2.9\""}},
      {"classes = \"raw\"\nsince = \"2.9.1\"", {"ours.toml:5: operations.since"}},
      {"classes = \"raw\"\nsince = \"2.9\"\nbefore = \"2.9\"",
       {"ours.toml:6: operations.before is not above operations.since"}},
      {"classes = \"raw\"\nthen = \"raw\"",
       {"ours.toml:5: operations.then needs operations.before"}},
      {"classes = \"raw\"\nmacos_since = 0", {"ours.toml:5: operations.macos_since", "1..1000"}},
      {"classes = \"raw\"\nmacos_since = 15\nmacos_before = 14",
       {"ours.toml:6: operations.macos_before is not above"}},
      {"classes = \"raw\"\ncontiguous = \"yes\"", {"ours.toml:5: operations.contiguous", "true"}},
      {"classes = \"raw\"\nclass = \"raw\"", {"ours.toml:5: operations.class", "classes"}},
      {"", {"ours.toml:1: operations has neither classes nor members"}},
      {"classes = \"raw\"\nmembers = [\"mm\"]", {"operations has both classes and members"}},
      {"members = [\"no_such\"]", {"operations.members: aten::no_such has no row on mps"}},
      {"members = [\"matmul\"]", {"aten::matmul, a member of ours::op, has members itself"}},
      {"members = [\"ours::op\"]", {"ours::op, a member of ours::op, has members itself"}},
      {"members = [\"a b\"]", {"ours.toml:4: operations.members[]", "is not the name"}},
  };
  for (const auto& [toml, words] : refusals) {
    const std::string error = table_error(head + std::string(toml) + "\n");
    for (const std::string_view word : words) {
      EXPECT_TRUE(contains(error, word)) << toml << "\nwants: " << word << "\nis: " << error;
    }
  }
}

TEST(OpTable, ANameOrABackendThatCannotBeIsRefused) {
  EXPECT_TRUE(contains(table_error("[[operations]]\nnames = []\nbackend = \"mps\"\nclasses = \"raw\""),
                       "ours.toml:2: operations.names has no name"));
  EXPECT_TRUE(contains(table_error("[[operations]]\nbackend = \"mps\"\nclasses = \"raw\""),
                       "ours.toml:1: operations.names"));
  const std::string backend =
      table_error("[[operations]]\nnames = [\"a\"]\nbackend = \"emulator\"\nclasses = \"raw\"");
  EXPECT_TRUE(contains(backend, "ours.toml:3: operations.backend")) << backend;
  EXPECT_TRUE(contains(backend, "\"cpu\", \"cuda\", \"mps\"")) << backend;
  EXPECT_TRUE(contains(table_error("operation = 1\n"), "ours.toml:1: operation"));
}

TEST(OpTable, TwoRowsThatSayTheSameAreRefused) {
  constexpr std::string_view kRow = "[[operations]]\nnames = [\"a\"]\nbackend = \"mps\"\n";
  const std::string twice = std::string(kRow) + "classes = \"raw\"\n";
  EXPECT_TRUE(contains(table_error(twice + twice),
                       "ours.toml:6: operations.names: aten::a on mps is there already, in the row "
                       "of line 1"))
      << table_error(twice + twice);
  EXPECT_TRUE(contains(table_error("[[operations]]\nnames = [\"a\", \"aten::a\"]\nbackend = \"mps\"\n"
                                "classes = \"raw\"\n"),
                       "aten::a on mps is there already"));
  // With `then` the first row speaks of all versions.
  EXPECT_TRUE(contains(table_error(twice + "before = \"2.9\"\nthen = \"graph\"\n" + std::string(kRow) +
                                "classes = \"raw\"\nsince = \"2.9\"\n"),
                       "is there already"));
}

TEST(OpTable, ACircleThroughAnotherConditionIsRefused) {
  const std::string error = table_error(R"(
[[operations]]
names = ["ours::op"]
backend = "mps"
classes = "raw"
contiguous = true

[[operations]]
names = ["ours::op"]
backend = "mps"
members = ["ours::op"]
contiguous = false
)");
  EXPECT_TRUE(contains(error, "ours.toml:8: operations.members: ours::op")) << error;
}

TEST(OpTable, EverythingThatIsWrongIsReportedAtOnce) {
  const std::string error = table_error(R"([[operations]]
names = ["a"]
backend = "mps"
classes = "fast"
[[operations]]
names = ["b"]
backend = "mps"
since = "new"
)");
  EXPECT_TRUE(contains(error, "ours.toml:4:")) << error;
  EXPECT_TRUE(contains(error, "ours.toml:8:")) << error;
}

TEST(OpTable, AFileThatCannotBeReadIsNamed) {
  const std::filesystem::path absent = "/no/such/ops.toml";
  try {
    (void)OpTable::shipped().extended_by(absent);
    FAIL() << "an absent file was read";
  } catch (const OpTableError& error) {
    EXPECT_TRUE(contains(error.what(), absent.string())) << error.what();
  }
}

}  // namespace
}  // namespace streamgate::policies
