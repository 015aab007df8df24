// SPDX-License-Identifier: Apache-2.0
//
// What the command promises whatever the sub-command: versions, help, the effective config, and a
// clear refusal of what it does not know.
#include <streamgate/policies/config.h>

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "../support/messages.h"
#include "../support/temporary_folder.h"
#include "run_command.h"

namespace streamgate::tools {
namespace {

using testing::contains;
using testing::TemporaryFolder;

/// As the refusal of an unknown one lists them.
std::vector<std::string> sub_commands() {
  const std::string text = run_command({"no-such-command"}).err;
  const std::string before = "there is: ";
  const std::size_t begin = text.find(before);
  if (begin == text.npos) return {};
  std::istringstream list(
      text.substr(begin + before.size(), text.find('\n') - begin - before.size()));
  std::vector<std::string> names;
  for (std::string name; list >> name;) {
    if (name.back() == ',') name.pop_back();
    names.push_back(name);
  }
  return names;
}

TEST(Command, VersionNamesItselfAndTheLoadedLibtorch) {
  const CommandResult result = run_command({"--version"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(result.out.starts_with("streamgate ")) << result.out;
  const auto doctor = nlohmann::json::parse(run_command({"doctor", "--json"}).out);
  const auto& libtorch = doctor.at("libtorch");
  const std::string line = "\nlibtorch " + libtorch.at("version").get<std::string>() + " (" +
                           libtorch.at("path").get<std::string>() + ")\n";
  EXPECT_TRUE(contains(result.out, line)) << result.out;
}

TEST(Command, HelpOfEverySubCommandTellsItsOptionsAndExitCodes) {
  const std::string top = run_command({"--help"}).out;
  const std::vector<std::string> names = sub_commands();
  ASSERT_FALSE(names.empty());
  for (const std::string& name : names) {
    EXPECT_TRUE(contains(top, name)) << name;
    const CommandResult result = run_command({name, "--help"});
    EXPECT_EQ(result.exit_code, 0) << name;
    EXPECT_TRUE(result.err.empty()) << result.err;
    EXPECT_TRUE(contains(result.out, "streamgate " + name)) << result.out;
    EXPECT_TRUE(contains(result.out, "Exit code: 0")) << result.out;
  }
}

TEST(Command, RefusesWhatItDoesNotKnowAndPointsToTheHelp) {
  struct Case {
    std::vector<std::string> arguments;
    std::string says;
    std::string hint;
  };
  const std::vector<Case> cases = {
      {{"frobnicate"}, "there is no sub-command 'frobnicate'", "'streamgate --help'"},
      {{"--frobnicate"}, "there is no option --frobnicate", "'streamgate --help'"},
      {{"doctor", "--frobnicate"},
       "no option --frobnicate of doctor",
       "'streamgate doctor --help'"},
      {{"doctor", "now"}, "doctor takes no argument 'now'", "'streamgate doctor --help'"},
      {{"doctor", "--config"}, "--config", "'streamgate doctor --help'"},
      {{"--config", "x.toml"}, "--config requires --print-config", "'streamgate --help'"},
      {{"--print-config", "doctor"}, "goes without a sub-command", "'streamgate --help'"}};
  for (const Case& wrong : cases) {
    const CommandResult result = run_command(wrong.arguments);
    EXPECT_EQ(result.exit_code, 2) << wrong.says;
    EXPECT_TRUE(result.out.empty()) << result.out;
    EXPECT_TRUE(contains(result.err, wrong.says)) << result.err;
    EXPECT_TRUE(contains(result.err, wrong.hint)) << result.err;
  }
}

TEST(Command, WithoutArgumentsShowsTheHelpAndFails) {
  const CommandResult result = run_command({});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(contains(result.err, "Usage: streamgate")) << result.err;
}

TEST(PrintConfig, RoundTripsAndKeepsWhatTheFileSays) {
  const TemporaryFolder folder;
  const auto file = folder.write("ours.toml", "[queue]\nmax_tasks = 77\n[executor]\nthreads = 1\n");
  const CommandResult result = run_command({"--print-config", "--config", file.string()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const policies::Config config = policies::parse_config(result.out, "printed");
  EXPECT_EQ(policies::print_config(config), result.out);
  EXPECT_EQ(config.queue.max_tasks, 77U);
  EXPECT_EQ(config.executor.threads, 1U);
}

TEST(PrintConfig, FillsInTheAutomaticValues) {
  const CommandResult result = run_command({"--print-config"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const policies::Config config = policies::parse_config(result.out, "printed");
  EXPECT_GE(config.executor.threads, 1U);
  EXPECT_GE(config.executor.intra_op_threads, 1U);
  for (const policies::GateConfig& gate : config.gates) {
    EXPECT_GE(gate.limit, 1U);
    EXPECT_LE(gate.limit, gate.ceiling);
  }
}

TEST(PrintConfig, TellsEveryErrorWithFileAndLine) {
  const TemporaryFolder folder;
  const auto file = folder.write("broken.toml", "[queue]\nmax_tasks = -1\nmax_taks = 5\n");
  const CommandResult result = run_command({"--print-config", "--config", file.string()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(result.out.empty()) << result.out;
  EXPECT_TRUE(contains(result.err, file.string() + ":2: queue.max_tasks")) << result.err;
  EXPECT_TRUE(contains(result.err, file.string() + ":3: queue.max_taks")) << result.err;
}

TEST(PrintConfig, TellsOfAnAbsentFile) {
  const CommandResult result = run_command({"--print-config", "--config", "/no/such/file.toml"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(contains(result.err, "/no/such/file.toml")) << result.err;
}

}  // namespace
}  // namespace streamgate::tools
