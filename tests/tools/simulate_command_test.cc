// SPDX-License-Identifier: Apache-2.0
//
// What `streamgate simulate`, the binary, promises of scenarios that are wrong, and of plants that
// behave badly: it says what is wrong, or plays to the end.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "../support/temporary_folder.h"
#include "run_command.h"

namespace streamgate::tools {
namespace {

using testing::TemporaryFolder;

using Json = nlohmann::json;

CommandResult simulate(const std::filesystem::path& scenario, const std::string& policy) {
  return run_command({"simulate", "--scenario", scenario.string(), "--policy", policy, "--json"});
}

TEST(SimulateCommand, AScenarioThatIsNoneIsRefusedWithItsNameAndWhatIsWrong) {
  const TemporaryFolder folder;
  const std::string load = R"("load": {"kind": "closed", "clients": 4})";
  const std::string plant = R"("plant": {"kind": "sharing", "service_s": 0.1, "threads": 2})";
  const std::vector<std::pair<std::string, std::string>> wrongs = {
      {"", "no JSON"},
      {"\x7f\x45\x4c\x46\x02", "no JSON"},
      {"{" + load + ", " + plant, "no JSON"},
      {std::string(100'000, '['), "JSON"},
      {"{" + load + "}", "plant is missing"},
      {"{" + load + ", " + plant + R"(, "celing": 3})", "celing"},
      {"{" + load + ", " + plant + R"(, "ceiling": 4, "initial_limit": 9})", "initial_limit"},
      {"{" + load + ", " + plant + R"(, "drop_above": 4})", "timeout_s"},
      {"{" + load + ", " + plant + R"(, "duration_s": -1})", "duration_s"},
      {"{" + load + ", " + plant + R"(, "duration_s": 1e300})", "duration_s"},
      {R"({"load": {"kind": "open", "clients": 4, "stages": [{"seconds": 1, "rps": 1}]}, )" +
           plant + "}",
       "load.clients"}};
  for (const auto& [text, says] : wrongs) {
    const auto file = folder.write("scenario.json", text);
    const CommandResult result = simulate(file, "all");
    EXPECT_EQ(result.exit_code, 2) << says;
    EXPECT_TRUE(result.out.empty()) << result.out.substr(0, 200);
    EXPECT_NE(result.err.find(says), std::string::npos) << says << "\n" << result.err;
    EXPECT_NE(result.err.find(file.string()), std::string::npos) << result.err.substr(0, 200);
  }
}

TEST(SimulateCommand, APolicyThatThereIsNotIsRefused) {
  const TemporaryFolder folder;
  const auto file = folder.write("scenario.json", "{}");
  EXPECT_EQ(simulate(file, "crystal_ball").exit_code, 2);
  EXPECT_EQ(simulate(folder.path() / "absent.json", "knee").exit_code, 2);
}

/// Every policy on a plant that gives no good answer.
void expect_bounded(const std::string& badly, const std::string& counted) {
  const TemporaryFolder folder;
  const auto file =
      folder.write("scenario.json",
                   R"({"duration_s": 20, "initial_limit": 8, "ceiling": 32, "timeout_s": 0.05,
          "load": {"kind": "closed", "clients": 64},
          "plant": {"kind": "power", "service_s": 0.01, "knee": 8, "exponent": 1}, )" +
                       badly + "}");
  const CommandResult result = simulate(file, "all");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = Json::parse(result.out);
  for (const Json& run : report.at("policies")) {
    const std::string policy = run.at("policy");
    EXPECT_EQ(run.at("completed"), 0) << policy;
    EXPECT_GT(run.at(counted), 0) << policy;
    EXPECT_GE(run.at("limit").at("min"), 1) << policy;
    EXPECT_LE(run.at("limit").at("max"), 32) << policy;
    if (policy == "knee") {
      EXPECT_LE(run.at("limit").at("max"), 8);
    }
  }
}

TEST(SimulateCommand, APlantThatNeverAnswersIsPlayedToItsEnd) {
  expect_bounded(R"("drop_above": 0)", "timed_out");
}

TEST(SimulateCommand, APlantThatRefusesEverythingIsPlayedToItsEnd) {
  expect_bounded(R"("reject_above": 0)", "rejected");
}

TEST(SimulateCommand, APlantThatDiesIsReportedAndNotAnError) {
  const TemporaryFolder folder;
  const auto file = folder.write("scenario.json",
                                 R"({"initial_limit": 8, "ceiling": 32, "crash_above": 4,
          "load": {"kind": "closed", "clients": 64},
          "plant": {"kind": "power", "service_s": 0.01, "knee": 8, "exponent": 1}})");
  const CommandResult result = simulate(file, "fixed");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(Json::parse(result.out).at("crashed").get<bool>());
}

}  // namespace
}  // namespace streamgate::tools
