// SPDX-License-Identifier: Apache-2.0
//
// `streamgate doctor --classify`: what it says of TorchScript files that are saved here, and of
// files that are none.
#include "../support/messages.h"
#include "../support/temporary_folder.h"
#include "doctor/classify.h"

#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "run_command.h"

namespace streamgate::tools {
namespace {

using testing::contains;
using testing::TemporaryFolder;
using Json = nlohmann::json;

/// linear (kernel or graph, as its input is), relu (graph in 2.9) and exp (raw), in a submodule.
std::string save_two_methods(const TemporaryFolder& folder) {
  torch::jit::Module inner("Inner");
  inner.define("def forward(self, x):\n    return torch.exp(torch.relu(x)) + torch.exp(x)\n");
  torch::jit::Module module("Model");
  module.register_module("inner", inner);
  module.define("def forward(self, x, w):\n    return self.inner.forward(torch.linear(x, w))\n");
  const std::string file = (folder.path() / "model.pt").string();
  module.save(file);
  return file;
}

TEST(Classify, PrintsOperationsPlacesAndClassesAndTheModulesOwn) {
  const TemporaryFolder folder;
  const CommandResult result =
      run_command({"doctor", "--classify", save_two_methods(folder), "--backend", "emulator"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(contains(result.out, "on emulator with libtorch 2.9\n")) << result.out;
  EXPECT_TRUE(contains(result.out, "aten::linear      1       kernel+graph\n")) << result.out;
  EXPECT_TRUE(contains(result.out, "aten::relu        1       graph\n")) << result.out;
  EXPECT_TRUE(contains(result.out, "aten::exp         2       raw\n")) << result.out;
  EXPECT_TRUE(contains(result.out, "class of the module: kernel+graph\n")) << result.out;
  EXPECT_LT(result.out.find("aten::linear"), result.out.find("aten::relu"));
  EXPECT_LT(result.out.find("aten::relu"), result.out.find("aten::exp"));
}

TEST(Classify, WithoutABackendItIsTheConfigs) {
  const TemporaryFolder folder;
  const std::string model = save_two_methods(folder);
  const CommandResult plain = run_command({"doctor", "--classify", model});
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_TRUE(contains(plain.out, "class of the module: raw\n")) << plain.out;
  const std::string config =
      folder.write("ours.toml", "executor.backend = \"emulator\"\nemulator.libtorch = \"2.12\"\n");
  const CommandResult configured = run_command({"doctor", "--classify", model, "--config", config});
  EXPECT_TRUE(contains(configured.out, "aten::relu        1       raw\n")) << configured.out;
}

std::set<std::string> fields_of(const Json& json, const std::string& prefix) {
  std::set<std::string> fields;
  for (const auto& [key, value] : json.items()) {
    if (value.is_array()) {
      for (const Json& element : value) fields.merge(fields_of(element, prefix + key + "[]."));
    } else {
      fields.insert(prefix + key);
    }
  }
  return fields;
}

TEST(Classify, JsonSaysTheSameWithExactlyTheFieldsThatTheDocsDescribe) {
  const TemporaryFolder folder;
  const CommandResult result =
      run_command({"doctor", "--classify", save_two_methods(folder), "--backend", "emulator", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json.at("class"), "kernel+graph");
  EXPECT_EQ(json.at("libtorch"), "2.9");
  ASSERT_EQ(json.at("operations").size(), 4U);
  EXPECT_EQ(json.at("operations")[1],
            Json({{"operation", "aten::exp"}, {"places", 2}, {"class", "raw"}, {"known", true}}));
  std::ifstream docs(STREAMGATE_DOCS "/op_classes.md");
  std::set<std::string> documented;
  bool in_json = false;
  for (std::string line; std::getline(docs, line);) {
    if (line.starts_with("#")) in_json = contains(line, "JSON");
    if (in_json && line.starts_with("| `")) {
      documented.insert(line.substr(3, line.find('`', 3) - 3));
    }
  }
  EXPECT_EQ(fields_of(json, ""), documented);
}

TEST(Classify, AnUnknownOperationIsAWarningAndNamed) {
  const TemporaryFolder folder;
  torch::jit::Module module("Model");
  module.define("def forward(self, x):\n    return torch.special_erfcx(x)\n");
  const std::string file = (folder.path() / "special.pt").string();
  module.save(file);
  const CommandResult result = run_command({"doctor", "--classify", file, "--backend", "emulator"});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_TRUE(contains(result.out, "aten::special_erfcx  1       kernel+graph  (unknown)\n"))
      << result.out;
  EXPECT_TRUE(contains(result.out, "op_table.file")) << result.out;
}

TEST(Classify, AFileThatIsNoTorchScriptIsNamedWithARemedy) {
  const TemporaryFolder folder;
  const std::string empty = folder.write("empty.pt", "");
  const std::string text = folder.write("text.pt", "this is no archive");
  const std::string whole = save_two_methods(folder);
  std::ifstream stream(whole, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  const std::string cut = folder.write("cut.pt", bytes.substr(0, bytes.size() / 2));
  for (const std::string& file : {empty, text, cut}) {
    const CommandResult result = run_command({"doctor", "--classify", file});
    EXPECT_EQ(result.exit_code, 2) << file;
    EXPECT_TRUE(result.out.empty()) << result.out;
    EXPECT_TRUE(contains(result.err, file + " is no TorchScript module")) << result.err;
    EXPECT_TRUE(contains(result.err, "remedy: save it with torch.jit.save")) << result.err;
    EXPECT_FALSE(contains(result.err, "frame #")) << "libtorch's call stack: " << result.err;
  }
  for (const std::string& file : {std::string("/no/such/model.pt"), folder.path().string()}) {
    const CommandResult result = run_command({"doctor", "--classify", file});
    EXPECT_EQ(result.exit_code, 2) << file;
    EXPECT_TRUE(contains(result.err, file + ": ")) << result.err;
  }
}

TEST(Classify, AnUnknownBackendIsRefusedAndOneWithoutAModelToo) {
  EXPECT_EQ(run_command({"doctor", "--classify", "m.pt", "--backend", "abacus"}).exit_code, 2);
  EXPECT_EQ(run_command({"doctor", "--backend", "mps"}).exit_code, 2);
}

TEST(Classify, ABrokenOpTableIsNamedByFileAndLine) {
  const TemporaryFolder folder;
  const std::string table = folder.write("ops.toml", "[[operations]]\nnames = [\"a\"]\n");
  const std::string config = folder.write("ours.toml", "op_table.file = \"" + table + "\"\n");
  const CommandResult result =
      run_command({"doctor", "--classify", save_two_methods(folder), "--config", config});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(contains(result.err, table + ":1: operations")) << result.err;
}

}  // namespace
}  // namespace streamgate::tools
