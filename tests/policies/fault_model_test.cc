// SPDX-License-Identifier: Apache-2.0
//
// The promises of fault models: what is read, what is refused and in which words, that what is
// printed reads back, and what the shipped ones are.
#include <streamgate/policies/fault_model.h>
#include <streamgate/policies/shipped_fault_models.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "../support/messages.h"

namespace streamgate::policies {
namespace {

using streamgate::testing::contains;

/// What is wrong with the text; empty when nothing is.
std::string model_error(std::string_view toml) {
  return testing::message_of<FaultModelError>([&] { (void)parse_fault_model(toml, "fm.toml"); });
}

/// The same for a file.
std::string model_file_error(const std::filesystem::path& file) {
  return testing::message_of<FaultModelError>([&] { (void)load_fault_model(file); });
}

constexpr std::string_view kWholeModel = R"(
[class.raw]
[class.kernel]
safe_threads = 2
fault = "segv"
probability = 1.0
after = 7
[class.graph]
safe_threads = 3
fault = "abort"
probability = 0.02
[class.exclusive]
safe_threads = 1
fault = "hang"
[[incompatible]]
classes = ["graph", "raw"]
fault = "corrupt"
probability = 0.5
after = 100
[[incompatible]]
classes = ["kernel", "graph"]
[device]
streams = 8
encode_us = 5
execute_us = 100
parallel = 2
)";

TEST(FaultModel, EachKeyReachesItsOwnField) {
  const FaultModel model = parse_fault_model(kWholeModel, "fm.toml");
  EXPECT_EQ(model.classes[index_of(OpClass::kRaw)], ClassFaults{});
  EXPECT_EQ(model.classes[index_of(OpClass::kKernel)],
            (ClassFaults{.safe_threads = 2,
                         .rule = {.fault = Fault::kSegv, .probability = 1.0, .after = 7}}));
  EXPECT_EQ(
      model.classes[index_of(OpClass::kGraph)],
      (ClassFaults{.safe_threads = 3, .rule = {.fault = Fault::kAbort, .probability = 0.02}}));
  EXPECT_EQ(model.classes[index_of(OpClass::kExclusive)],
            (ClassFaults{.safe_threads = 1, .rule = {.fault = Fault::kHang}}));
  ASSERT_EQ(model.incompatible.size(), 2U);
  EXPECT_EQ(
      model.incompatible[0],
      (IncompatibleFault{.a = OpClass::kGraph,
                         .b = OpClass::kRaw,
                         .rule = {.fault = Fault::kCorrupt, .probability = 0.5, .after = 100}}));
  EXPECT_EQ(model.incompatible[1],
            (IncompatibleFault{.a = OpClass::kKernel, .b = OpClass::kGraph}));
  EXPECT_EQ(model.device, (FaultModel::Device{.streams = 8,
                                              .encode = std::chrono::microseconds(5),
                                              .execute = std::chrono::microseconds(100),
                                              .parallel = 2}));
}

TEST(FaultModel, EmptyTextIsADeviceThatNeverFails) {
  EXPECT_EQ(parse_fault_model("", "fm.toml"), FaultModel{});
  EXPECT_EQ(parse_fault_model("# nothing\n[device]\n[class.graph]\n", "fm.toml"), FaultModel{});
}

TEST(FaultModel, PrintedModelReadsBackEqual) {
  FaultModel odd = parse_fault_model(kWholeModel, "fm.toml");
  odd.classes[index_of(OpClass::kGraph)].rule.probability = 0.1 + 0.2;  // Not a short number.
  odd.classes[index_of(OpClass::kKernel)].rule.probability = 5e-324;
  // A rule without a width means nothing, but it is there.
  odd.classes[index_of(OpClass::kRaw)].rule.fault = Fault::kHang;
  for (const FaultModel& model : {FaultModel{}, parse_fault_model(kWholeModel, "fm.toml"), odd}) {
    EXPECT_EQ(parse_fault_model(print_fault_model(model), "fm.toml"), model)
        << print_fault_model(model);
  }
}

TEST(FaultModel, WhatIsRefusedNamesFileLineKeyAndWhatIsAllowed) {
  const std::pair<std::string, std::string> cases[] = {
      {"[class.kernel]\nsafe_threads = 0\n",
       "fm.toml:2: class.kernel.safe_threads = 0 is out of range; allowed: 1..1023"},
      {"class.kernel.safe_threads = 1024",
       "fm.toml:1: class.kernel.safe_threads = 1024 is out of range; allowed: 1..1023"},
      {"class.kernel.safe_threads = -1",
       "fm.toml:1: class.kernel.safe_threads = -1 is out of range; allowed: 1..1023"},
      {"class.kernel.safe_threads = 2.0",
       "fm.toml:1: class.kernel.safe_threads = 2.0 is a float, not an integer; allowed: 1..1023"},
      {"[class.graph]\nprobability = 0\n",
       "fm.toml:2: class.graph.probability = 0 is out of range; allowed: above 0, at most 1"},
      {"class.graph.probability = 0.0",
       "fm.toml:1: class.graph.probability = 0.0 is out of range; allowed: above 0, at most 1"},
      {"class.graph.probability = -0.5",
       "fm.toml:1: class.graph.probability = -0.5 is out of range; allowed: above 0, at most 1"},
      {"class.graph.probability = 1.000001",
       "fm.toml:1: class.graph.probability = 1.000001 is out of range; allowed: above 0, at most "
       "1"},
      {"class.graph.probability = nan",
       "fm.toml:1: class.graph.probability = nan is out of range; allowed: above 0, at most 1"},
      {"class.graph.probability = inf",
       "fm.toml:1: class.graph.probability = inf is out of range; allowed: above 0, at most 1"},
      {"class.graph.probability = \"1\"",
       "fm.toml:1: class.graph.probability = \"1\" is a string, not a number; allowed: above 0, at "
       "most 1"},
      {"class.graph.after = -1",
       "fm.toml:1: class.graph.after = -1 is out of range; allowed: 0..9223372036854775807"},
      {"class.graph.fault = \"crash\"",
       "fm.toml:1: class.graph.fault = \"crash\" is not a known word; allowed: \"segv\", "
       "\"abort\", \"hang\", \"corrupt\""},
      {"[class.graph]\nsafe_thread = 2\n",
       "fm.toml:2: class.graph.safe_thread is not a known key; did you mean "
       "class.graph.safe_threads? Known keys of [class.graph]: safe_threads, fault, probability, "
       "after"},
      {"[class.grph]\n",
       "fm.toml:1: class.grph is not a known key; did you mean class.graph? Known keys of [class]: "
       "raw, kernel, graph, exclusive"},
      {"[classes.graph]\n",
       "fm.toml:1: classes is not a known key; did you mean class? Known keys: class, "
       "incompatible, device"},
      {"class = 5", "fm.toml:1: class = 5 is an integer, not a table"},
      {"[[class]]\n", "fm.toml:1: class is an array, not a table"},
      {"class.raw = 5", "fm.toml:1: class.raw = 5 is an integer, not a table"},
      {"device.streams = 0", "fm.toml:1: device.streams = 0 is out of range; allowed: 1..64"},
      {"device.streams = 65", "fm.toml:1: device.streams = 65 is out of range; allowed: 1..64"},
      {"device.parallel = 0", "fm.toml:1: device.parallel = 0 is out of range; allowed: 1..1023"},
      {"device.encode_us = -1",
       "fm.toml:1: device.encode_us = -1 is out of range; allowed: 0..60000000"},
      {"device.execute_us = 60000001",
       "fm.toml:1: device.execute_us = 60000001 is out of range; allowed: 0..60000000"},
      {"device.speed = 1",
       "fm.toml:1: device.speed is not a known key. Known keys of [device]: streams, encode_us, "
       "execute_us, parallel"},
  };
  for (const auto& [toml, error] : cases) EXPECT_EQ(model_error(toml), error);
}

TEST(FaultModel, IncompatibleTakesTwoDifferentClassesOnce) {
  const std::string allowed =
      "; allowed: two different ones of \"raw\", \"kernel\", \"graph\", \"exclusive\"";
  const std::pair<std::string, std::string> cases[] = {
      {"classes = []", "fm.toml:2: incompatible.classes has 0 classes" + allowed},
      {"classes = [\"raw\"]", "fm.toml:2: incompatible.classes has 1 classes" + allowed},
      {"classes = [\"raw\", \"graph\", \"kernel\"]",
       "fm.toml:2: incompatible.classes has 3 classes" + allowed},
      {"classes = [\"raw\", \"raw\"]",
       "fm.toml:2: incompatible.classes names \"raw\" twice" + allowed},
      {"classes = \"raw\"",
       "fm.toml:2: incompatible.classes = \"raw\" is a string, not an array" + allowed},
      {"fault = \"segv\"", "fm.toml:1: incompatible.classes is missing" + allowed},
      {"classes = [\"raw\", \"grph\"]",
       "fm.toml:2: incompatible.classes[] = \"grph\" is not a known word; allowed: \"raw\", "
       "\"kernel\", \"graph\", \"exclusive\""},
      {"classes = [\"raw\", 5]",
       "fm.toml:2: incompatible.classes[] = 5 is an integer, not a string; allowed: \"raw\", "
       "\"kernel\", \"graph\", \"exclusive\""},
  };
  for (const auto& [line, error] : cases) {
    EXPECT_EQ(model_error("[[incompatible]]\n" + line + "\n"), error);
  }
  EXPECT_EQ(model_error("[[incompatible]]\nclasses = [\"raw\", \"graph\"]\n"
                     "[[incompatible]]\nclasses = [\"graph\", \"raw\"]\n"),
            "fm.toml:4: incompatible.classes = [\"graph\", \"raw\"] is there already; allowed: "
            "each pair once");
  EXPECT_EQ(model_error("[incompatible]\nclasses = [\"raw\", \"graph\"]\n"),
            "fm.toml:1: incompatible is a table, not an array; allowed: tables, [[incompatible]]");
  EXPECT_EQ(model_error("incompatible = [5]\n"),
            "fm.toml:1: incompatible = 5 is an integer, not a table");
}

TEST(FaultModel, AllErrorsAreReportedInTheOrderOfLines) {
  const std::string error = model_error(
      "[device]\nstreams = 0\nparallel = x\n[class.graph]\nfault = \"crash\"\nafter = -1\n");
  EXPECT_TRUE(error.starts_with("fm.toml:2: device.streams = 0 ")) << error;
  EXPECT_TRUE(contains(error, "\nfm.toml:3: device.parallel = x is not TOML: ")) << error;
  EXPECT_TRUE(contains(error, "\nfm.toml:5: class.graph.fault = \"crash\" ")) << error;
  EXPECT_TRUE(contains(error, "\nfm.toml:6: class.graph.after = -1 ")) << error;
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 3) << error;
}

TEST(FaultModel, NoPrefixOfAFileIsReadAsSomethingElse) {
  // A file that was cut off is an error, or what its whole lines say; never a crash.
  const FaultModel whole = parse_fault_model(kWholeModel, "fm.toml");
  std::size_t refused = 0;
  for (std::size_t size = 0; size < kWholeModel.size(); ++size) {
    const std::string error = model_error(kWholeModel.substr(0, size));
    if (!error.empty()) ++refused;
    EXPECT_TRUE(error.empty() || error.starts_with("fm.toml:")) << error;
  }
  EXPECT_GT(refused, kWholeModel.size() / 4);
}

TEST(FaultModel, WhatIsNoTomlIsRefused) {
  for (const char* text : {"\x7f"
                           "ELF\x02\x01\x01",
                           "{\"class\": 1}", "class", "[class", "\xff\xfe"}) {
    EXPECT_TRUE(contains(model_error(text), "is not TOML: ")) << model_error(text);
  }
}

TEST(FaultModel, FileThatCannotBeReadNamesPathAndReason) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir());
  EXPECT_EQ(
      model_file_error(folder / "absent" / "fm.toml"),
      (folder / "absent" / "fm.toml").string() + ": cannot be read: No such file or directory");
  EXPECT_EQ(model_file_error(folder), folder.string() + ": cannot be read: Is a directory");
  EXPECT_EQ(model_file_error("/dev/zero"), "/dev/zero: is larger than 65536 bytes");
}

TEST(FaultModel, FileIsReadAndNamedInErrors) {
  const std::filesystem::path file =
      std::filesystem::path(::testing::TempDir()) / "streamgate_fault_model_test.toml";
  std::ofstream(file) << "[class.graph]\nsafe_threads = 4\n";
  EXPECT_EQ(load_fault_model(file).classes[index_of(OpClass::kGraph)].safe_threads, 4U);
  std::ofstream(file) << "\nclass.graph.safe_threads = 0\n";
  EXPECT_TRUE(model_file_error(file).starts_with(file.string() + ":2: class.graph.safe_threads = 0 "));
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
}

// ---- The shipped ones ----

ClassFaults faults_of(std::string_view model, OpClass op_class) {
  return find_fault_model(model).classes[index_of(op_class)];
}

ClassFaults beyond(std::size_t width, Fault fault, double probability = 1.0) {
  return {.safe_threads = width, .rule = {.fault = fault, .probability = probability}};
}

TEST(ShippedFaultModels, AreTheDevicesThatWereMet) {
  std::vector<std::string_view> names;
  for (const ShippedFaultModel& model : shipped_fault_models()) names.push_back(model.name);
  EXPECT_EQ(names,
            (std::vector<std::string_view>{"corrupting", "hanging", "intermittent",
                                           "seeds-graphpath", "seeds-nograph", "upstream-2.14"}));
  EXPECT_EQ(faults_of("seeds-nograph", OpClass::kKernel), beyond(2, Fault::kSegv));
  EXPECT_EQ(faults_of("seeds-graphpath", OpClass::kKernel), beyond(3, Fault::kSegv));
  EXPECT_EQ(faults_of("upstream-2.14", OpClass::kKernel), beyond(1, Fault::kSegv));
  EXPECT_EQ(faults_of("upstream-2.14", OpClass::kGraph), beyond(1, Fault::kAbort));
  EXPECT_EQ(faults_of("intermittent", OpClass::kKernel), beyond(2, Fault::kSegv, 0.02));
  EXPECT_EQ(faults_of("intermittent", OpClass::kGraph), beyond(2, Fault::kAbort, 0.02));
  EXPECT_EQ(faults_of("corrupting", OpClass::kGraph), beyond(2, Fault::kCorrupt, 0.2));
  EXPECT_EQ(faults_of("hanging", OpClass::kKernel), beyond(2, Fault::kHang));
  for (const std::string_view name : names) {
    EXPECT_FALSE(faults_of(name, OpClass::kRaw).safe_threads) << name;
  }
}

TEST(ShippedFaultModels, EachSaysWhereItComesFrom) {
  for (const ShippedFaultModel& model : shipped_fault_models()) {
    EXPECT_TRUE(model.toml.starts_with("# ")) << model.name;
    EXPECT_TRUE(contains(model.toml, "\n# Source: ")) << model.name;
  }
}

TEST(ShippedFaultModels, AreTheFilesLetterForLetter) {
  const std::filesystem::path folder =
      std::filesystem::path(STREAMGATE_SOURCE_DIR) / "executor/backends/fault_models";
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    ++files;
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const std::string name = entry.path().stem().string();
    const auto shipped =
        std::find_if(shipped_fault_models().begin(), shipped_fault_models().end(),
                     [&name](const ShippedFaultModel& model) { return model.name == name; });
    ASSERT_NE(shipped, shipped_fault_models().end()) << name;
    EXPECT_EQ(shipped->toml, text.str());
  }
  EXPECT_EQ(files, shipped_fault_models().size());
}

TEST(ShippedFaultModels, PathIsTakenWhereNoNameFits) {
  const std::filesystem::path file =
      std::filesystem::path(::testing::TempDir()) / "streamgate_find_fault_model_test.toml";
  std::ofstream(file) << "device.parallel = 9\n";
  EXPECT_EQ(find_fault_model(file.string()).device.parallel, 9U);
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  try {
    (void)find_fault_model("seeds-nografh");
    FAIL() << "no such model";
  } catch (const FaultModelError& error) {
    EXPECT_EQ(std::string_view(error.what()),
              "seeds-nografh: is neither a file nor a shipped fault model; shipped are: "
              "corrupting, hanging, intermittent, seeds-graphpath, seeds-nograph, upstream-2.14");
  }
}

}  // namespace
}  // namespace streamgate::policies
