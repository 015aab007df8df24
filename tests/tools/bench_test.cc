// SPDX-License-Identifier: Apache-2.0
//
// The promises of `streamgate bench`: what is counted and compared, what is refused, and that the
// binary measures a real model in every way. How fast anything is is no test's business.
#include <gtest/gtest.h>
#include <torch/script.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "../support/temporary_folder.h"
#include "bench/clients.h"
#include "bench/measure.h"
#include "bench/model.h"
#include "bench/report.h"
#include "run_command.h"

namespace streamgate::tools {
namespace {

using testing::TemporaryFolder;

using Json = nlohmann::json;
using std::chrono::milliseconds;

/// Takes a tensor of so many columns.
std::filesystem::path save_model(const TemporaryFolder& folder) {
  torch::jit::Module module("linear");
  module.register_parameter("weight", torch::ones({4, 8}), false);
  module.define("def forward(self, x):\n    return torch.relu(torch.linear(x, self.weight))\n");
  const auto file = folder.path() / "linear.pt";
  module.save(file.string());
  return file;
}

TEST(BenchReport, MediansAndQuartilesAreNearestRanksAndRatiosGoRoundByRound) {
  const Spread spread = spread_of({5, 1, 4, 2, 3});
  EXPECT_EQ(spread.median, 3);
  EXPECT_EQ(spread.low, 2);
  EXPECT_EQ(spread.high, 4);
  // Both halve from round to round: the machine did that, not they.
  const Spread ratio = ratio_of({8, 4, 2}, {4, 2, 1});
  EXPECT_EQ(ratio.low, 2);
  EXPECT_EQ(ratio.median, 2);
  EXPECT_EQ(ratio.high, 2);
}

TEST(BenchReport, SettledIsFromWhenOnItStaysAtNineTenths) {
  BenchRun run{.adaptive = {{100, 100, 100}},
               .cold_start = {10, 95, 95, 20, 20, 80, 95, 95, 95},
               .cold_slice_seconds = 0.5};
  EXPECT_EQ(settled_seconds(run), 3.0);
  run.cold_start = {10, 20, 30};
  EXPECT_EQ(settled_seconds(run), std::nullopt);
}

TEST(BenchReport, ColdStartIsAtTheBestFromWhenOnMostSlicesAre) {
  BenchRun run{.curve = {{.width = 1, .series = {{50, 50}}}, {.width = 2, .series = {{900, 900}}}},
               .best = 1,
               .best_again = {{100, 100}},
               .adaptive = {{90, 90}},
               .cold_start = {10, 98, 20, 96, 97, 99, 80, 98},
               .cold_slice_seconds = 0.5};
  // From the first 98 on, the median of what follows (nearest rank) is 97.
  EXPECT_EQ(cold_seconds_to_best(run), 0.5);
  run.cold_start = {10, 98, 20, 30, 40, 99};
  EXPECT_EQ(cold_seconds_to_best(run), 2.5);
  run.cold_start = {96, 96, 96};
  EXPECT_EQ(cold_seconds_to_best(run), std::nullopt) << "the adaptive run itself is below it, too";
}

TEST(BenchMeasure, WidthsAreCloseTogetherWhereTheyAreFew) {
  EXPECT_EQ(widths_up_to(1), (std::vector<std::size_t>{1}));
  EXPECT_EQ(widths_up_to(16), (std::vector<std::size_t>{1, 2, 3, 4, 5, 6, 8, 10, 13}));
}

TEST(BenchClients, CountWhatWasAnsweredAndNotTheFirstOfEach) {
  std::atomic<std::size_t> prepared{0};
  std::atomic<std::size_t> served{0};
  const Way way{.prepare_thread = [&] { ++prepared; },
                .serve =
                    [&] {
                      EXPECT_GE(prepared, 1U);
                      ++served;
                    }};
  const std::vector<double> rates = requests_per_second(way, 3, milliseconds(10), 2);
  ASSERT_EQ(rates.size(), 2U);
  EXPECT_EQ(prepared, 3U);
  const double counted = (rates[0] + rates[1]) * 0.01;
  // The first of each, and the one with which each sees that the time is over.
  EXPECT_NEAR(counted, static_cast<double>(served - 6), 0.5);
}

TEST(BenchClients, RethrowWhatOneOfThemThrew) {
  std::atomic<int> served{0};
  const Way way{.prepare_thread = [] {},
                .serve =
                    [&] {
                      if (++served == 5) throw std::runtime_error("the fifth");
                    }};
  EXPECT_THROW((void)requests_per_second(way, 2, milliseconds(5), 1), std::runtime_error);
}

TEST(BenchModel, AShapeIsReadOrRefusedWithWhatIsAllowed) {
  EXPECT_EQ(parse_input_shape("32x256").sizes, (std::vector<std::int64_t>{32, 256}));
  EXPECT_FALSE(parse_input_shape("7").whole_numbers);
  EXPECT_TRUE(parse_input_shape("1x128:int64").whole_numbers);
  for (const std::string wrong : {"", "x", "3x", "x3", "0x3", "-1", "3,4", "3x4:int8", "3.5",
                                  "99999999999", "1x1x1x1x1x1x1x1x1"}) {
    try {
      static_cast<void>(parse_input_shape(wrong));
      ADD_FAILURE() << wrong;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find("32x256"), std::string::npos);
    }
  }
}

TEST(BenchModel, AFileThatIsNoModelOrAnInputThatItDoesNotTakeIsNamed) {
  const TemporaryFolder folder;
  const auto model = save_model(folder);
  const auto text = folder.write("text.pt", "not a model");
  const auto error_of = [](const std::filesystem::path& file, std::vector<std::int64_t> sizes) {
    try {
      const ScriptModel loaded(file, {{.sizes = std::move(sizes)}}, "cpu");
      return std::string();
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(error_of(model, {3, 8}), "");
  EXPECT_TRUE(error_of(model, {3, 9}).starts_with(model.string() + " does not take this input"));
  EXPECT_TRUE(error_of(text, {1}).starts_with(text.string() + " is not a TorchScript model"));
  EXPECT_TRUE(error_of(folder.path() / "absent.pt", {1})
                  .starts_with((folder.path() / "absent.pt").string()));
}

TEST(BenchCommand, MeasuresARealModelInEveryWay) {
  const TemporaryFolder folder;
  const auto model = save_model(folder);
  const CommandResult result = run_command(
      {"bench", "--model", model.string(), "--input", "4x8", "--clients", "2", "--rounds", "2",
       "--seconds", "0.02", "--settle-seconds", "0.2", "--max-width", "3", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = Json::parse(result.out);
  EXPECT_EQ(report.at("model"), "linear.pt");
  ASSERT_EQ(report.at("runs").size(), 1U);
  const Json& run = report.at("runs")[0];
  EXPECT_EQ(run.at("clients"), 2);
  std::vector<std::size_t> widths;
  for (const Json& point : run.at("curve")) {
    if (point.at("intra_op_threads") == 1) widths.push_back(point.at("width"));
    EXPECT_GT(point.at("per_second").at("median"), 0);
    EXPECT_EQ(point.at("rounds").size(), 2U);
  }
  EXPECT_EQ(widths, (std::vector<std::size_t>{1, 2})) << "no wider than there are clients";
  for (const std::string way : {"best_again", "adaptive", "plain_threads", "global_mutex"}) {
    EXPECT_GT(run.at(way).at("per_second").at("median"), 0) << way;
    EXPECT_GT(run.at(way).at("of_best").at("median"), 0) << way;
    EXPECT_EQ(run.at(way).at("rounds").size(), 2U) << way;
  }
  EXPECT_EQ(run.at("adaptive").at("policy"), "knee");
  EXPECT_GE(run.at("adaptive").at("limit"), 1);
  EXPECT_LE(run.at("adaptive").at("limit"), run.at("adaptive").at("ceiling"));
}

TEST(BenchCommand, ItsTableNamesEveryWay) {
  const TemporaryFolder folder;
  const CommandResult result =
      run_command({"bench", "--model", save_model(folder).string(), "--input", "4x8", "--clients",
                   "1", "--rounds", "1", "--seconds", "0.01", "--settle-seconds", "0.02"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const std::string part : {"1 at once, 1 intra-op", "adaptive", "plain threads",
                                 "global mutex", "the best width, again", "policy knee: limit "}) {
    EXPECT_NE(result.out.find(part), std::string::npos) << part << "\n" << result.out;
  }
}

TEST(BenchCommand, RefusesWhatItCannotRun) {
  const TemporaryFolder folder;
  const std::string model = save_model(folder).string();
  const std::vector<std::vector<std::string>> wrongs = {
      {"bench"},
      {"bench", "--model", model},
      {"bench", "--model", model, "--input", "4by8"},
      {"bench", "--model", model, "--input", "4x9"},
      {"bench", "--model", model, "--input", "4x8", "--backend", "abacus"},
      {"bench", "--model", model, "--input", "4x8", "--clients", "0"},
      {"bench", "--model", model + ".absent", "--input", "4x8"}};
  for (const std::vector<std::string>& wrong : wrongs) {
    const CommandResult result = run_command(wrong);
    EXPECT_EQ(result.exit_code, 2) << wrong.back();
    EXPECT_TRUE(result.out.empty()) << result.out;
    EXPECT_FALSE(result.err.empty());
  }
}

}  // namespace
}  // namespace streamgate::tools
