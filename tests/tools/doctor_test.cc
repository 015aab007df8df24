// SPDX-License-Identifier: Apache-2.0
//
// `streamgate doctor`, the real binary: what it says of this process, and that it sees through the
// libraries that the tests put in its way.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "run_command.h"
#include "temporary_folder.h"

namespace streamgate::tools {
namespace {

using Json = nlohmann::json;

struct Examined {
  int exit_code = -1;
  Json report;
};

Examined doctor(std::vector<std::string> arguments = {},
                const std::map<std::string, std::string>& environment = {}) {
  arguments.insert(arguments.begin(), {"doctor", "--json"});
  const CommandResult result = run_command(arguments, environment);
  Json report = Json::parse(result.out, nullptr, false);
  EXPECT_TRUE(report.is_object()) << result.out << result.err;
  return {result.exit_code, std::move(report)};
}

/// The findings of that id.
std::vector<Json> found(const Examined& examined, const std::string& id) {
  std::vector<Json> findings;
  for (const Json& finding : examined.report.at("findings")) {
    if (finding.at("id") == id) findings.push_back(finding);
  }
  return findings;
}

bool contains(const Json& text, const std::string& part) {
  return text.get<std::string>().find(part) != std::string::npos;
}

TEST(Doctor, ReportsWhatItFoundAndExitsAsItsStatusSays) {
  const Examined examined = doctor();
  const Json& report = examined.report;
  const std::string status = report.at("status");
  EXPECT_EQ(examined.exit_code, status == "fine" ? 0 : status == "warnings" ? 1 : 2);
  EXPECT_EQ(status == "fine", report.at("findings").empty());
  EXPECT_TRUE(std::filesystem::exists(report.at("libtorch").at("path").get<std::string>()));
  EXPECT_FALSE(report.at("libtorch").at("version").get<std::string>().empty());
  EXPECT_NE(report.at("blas").at("kind"), "unknown");
  EXPECT_EQ(report.at("device").at("backend"), "cpu");
  EXPECT_GE(report.at("machine").at("usable_cores"), 1);
  EXPECT_GT(report.at("operation").at("per_second"), 0);
  EXPECT_EQ(report.at("config").at("state"), "not_given");
  EXPECT_GE(report.at("effective").at("threads"), 1);
  EXPECT_TRUE(report.at("limits").is_null());
  for (const Json& finding : report.at("findings")) {
    for (const char* field : {"severity", "id", "what", "remedy"}) {
      EXPECT_FALSE(finding.at(field).get<std::string>().empty()) << field;
    }
  }
}

TEST(Doctor, TextSaysTheSameAndExitsTheSame) {
  const Examined examined = doctor();
  const CommandResult text = run_command({"doctor"});
  EXPECT_EQ(text.exit_code, examined.exit_code);
  const Json& libtorch = examined.report.at("libtorch");
  EXPECT_NE(text.out.find(libtorch.at("path").get<std::string>()), std::string::npos) << text.out;
  for (const Json& finding : examined.report.at("findings")) {
    EXPECT_NE(text.out.find(finding.at("remedy").get<std::string>()), std::string::npos);
  }
}

TEST(Doctor, WarnsOfASecondLibtorchOnTheSearchPathByItsPath) {
  const TemporaryFolder folder;
  // No name that the loader looks for: it would take it, and fail.
  const std::string second = folder.write("libtorch_cpu.so.0", "");
  const Examined examined = doctor({}, {{"LD_LIBRARY_PATH", folder.path().string()}});
  EXPECT_EQ(examined.exit_code, 1);
  const auto warnings = found(examined, "second_libtorch");
  ASSERT_EQ(warnings.size(), 1U) << examined.report.dump(2);
  EXPECT_TRUE(contains(warnings[0].at("what"), second)) << warnings[0];
  EXPECT_TRUE(contains(warnings[0].at("what"), examined.report.at("libtorch").at("path")));
  EXPECT_EQ(examined.report.at("libtorch").at("other_paths"), Json::array({second}));
}

TEST(Doctor, ALinkToTheLoadedLibtorchIsNoSecondOne) {
  const TemporaryFolder folder;
  const std::string loaded = doctor().report.at("libtorch").at("path");
  std::filesystem::create_symlink(loaded, folder.path() / "libtorch_cpu.so");
  const Examined examined = doctor({}, {{"LD_LIBRARY_PATH", folder.path().string()}});
  for (const Json& warning : found(examined, "second_libtorch")) {
    EXPECT_FALSE(contains(warning.at("what"), folder.path().string())) << warning;
  }
}

TEST(Doctor, ConfigThatIsValidIsUsed) {
  const TemporaryFolder folder;
  const std::string file = folder.write("ours.toml", "[executor]\nthreads = 1\nstreams = 7\n");
  const Json report = doctor({"--config", file}).report;
  EXPECT_EQ(report.at("config").at("file"), file);
  EXPECT_EQ(report.at("config").at("state"), "valid");
  EXPECT_EQ(report.at("effective").at("threads"), 1);
  EXPECT_EQ(report.at("effective").at("streams"), 7);
}

TEST(Doctor, BrokenConfigIsUnusableWithFileAndLineOfEachError) {
  const TemporaryFolder folder;
  const std::string file = folder.write("broken.toml", "[executor]\nthreads = -3\nthread = 1\n");
  const Examined examined = doctor({"--config", file});
  EXPECT_EQ(examined.exit_code, 2);
  EXPECT_EQ(examined.report.at("status"), "unusable");
  EXPECT_EQ(examined.report.at("config").at("state"), "invalid");
  EXPECT_EQ(examined.report.at("config").at("errors").size(), 2U);
  EXPECT_TRUE(examined.report.at("effective").is_null());
  const auto errors = found(examined, "config_invalid");
  ASSERT_EQ(errors.size(), 2U) << examined.report.dump(2);
  EXPECT_TRUE(contains(errors[0].at("what"), file + ":2: executor.threads")) << errors[0];
  EXPECT_TRUE(contains(errors[1].at("what"), file + ":3: executor.thread")) << errors[1];
  EXPECT_EQ(errors[0].at("severity"), "error");
  // It still tells what it can.
  EXPECT_GT(examined.report.at("operation").at("per_second"), 0);
}

TEST(Doctor, ConfigThatThisMachineCannotRunIsUnusable) {
  const TemporaryFolder folder;
  const std::string file =
      folder.write("wide.toml", "[executor]\nthreads = 512\nintra_op_threads = 512\n");
  const Examined examined = doctor({"--config", file});
  EXPECT_EQ(examined.exit_code, 2);
  const auto errors = found(examined, "config_invalid");
  ASSERT_EQ(errors.size(), 1U) << examined.report.dump(2);
  EXPECT_TRUE(contains(errors[0].at("what"), file)) << errors[0];
}

TEST(Doctor, LimitsOfAnotherBuildAreNamedAndNotUsed) {
  const TemporaryFolder folder;
  const std::string limits =
      folder.write("limits.toml",
                   "[provenance]\nbackend = \"cpu\"\nlibtorch = \"0.0.1 (build 0123456789ab)\"\n"
                   "[[classes]]\nclass = \"graph\"\nceiling = 4\n");
  const std::string file = folder.write("ours.toml", "limits.file = \"" + limits + "\"\n");
  const Examined examined = doctor({"--config", file});
  EXPECT_EQ(examined.exit_code, 1);
  EXPECT_EQ(examined.report.at("limits").at("file"), limits);
  EXPECT_EQ(examined.report.at("limits").at("state"), "mismatch");
  EXPECT_EQ(examined.report.at("effective").at("gates").at("graph").at("ceiling"), 1);
  const auto warnings = found(examined, "limits_mismatch");
  ASSERT_EQ(warnings.size(), 1U) << examined.report.dump(2);
  EXPECT_TRUE(contains(warnings[0].at("what"),
                       "libtorch 0.0.1 (build 0123456789ab) there, " +
                           examined.report.at("libtorch").at("version").get<std::string>()))
      << warnings[0];
}

TEST(Doctor, BrokenLimitsAreUnusableWithFileAndLine) {
  const TemporaryFolder folder;
  const std::string limits = folder.write("limits.toml", "format = 2\n");
  const std::string file = folder.write("ours.toml", "limits.file = \"" + limits + "\"\n");
  const Examined examined = doctor({"--config", file});
  EXPECT_EQ(examined.exit_code, 2);
  EXPECT_EQ(examined.report.at("limits").at("state"), "unusable");
  EXPECT_EQ(examined.report.at("config").at("state"), "valid") << "the config is not to blame";
  const auto errors = found(examined, "limits_unusable");
  ASSERT_EQ(errors.size(), 1U) << examined.report.dump(2);
  EXPECT_TRUE(contains(errors[0].at("what"), limits + ":1: format = 2 is newer")) << errors[0];
}

TEST(Doctor, ABrokenOpTableIsUnusableWithFileAndLine) {
  const TemporaryFolder folder;
  const std::string table = folder.write("ops.toml", "[[operations]]\nnames = [\"a\"]\n");
  const std::string file = folder.write("ours.toml", "op_table.file = \"" + table + "\"\n");
  const Examined examined = doctor({"--config", file});
  EXPECT_EQ(examined.exit_code, 2);
  EXPECT_EQ(examined.report.at("config").at("state"), "valid") << "the config is not to blame";
  const auto errors = found(examined, "op_table_unusable");
  ASSERT_EQ(errors.size(), 2U) << examined.report.dump(2);
  EXPECT_TRUE(contains(errors[0].at("what"), table + ":1: operations")) << errors[0];
}

TEST(Doctor, AbsentConfigIsUnusable) {
  const Examined examined = doctor({"--config", "/no/such/file.toml"});
  EXPECT_EQ(examined.exit_code, 2);
  EXPECT_EQ(found(examined, "config_invalid").size(), 1U) << examined.report.dump(2);
}

#if !defined(__APPLE__)
/// libtorch must ask the fake library: with MKL or another BLAS inside, it does not.
bool looks_for_its_blas(const Examined& examined) {
  return contains(examined.report.at("blas").at("library"), STREAMGATE_FAKE_LIBRARIES);
}

TEST(Doctor, WarnsOfTheReferenceBlasWithTheMeasuredCostAndTheRemedy) {
  const Examined examined = doctor({}, preload("blas/libblas.so.3"));
  if (!looks_for_its_blas(examined)) GTEST_SKIP() << "this libtorch has its BLAS inside";
  EXPECT_EQ(examined.report.at("blas").at("kind"), "reference");
  EXPECT_EQ(examined.exit_code, 1);
  const auto warnings = found(examined, "reference_blas");
  ASSERT_EQ(warnings.size(), 1U) << examined.report.dump(2);
  EXPECT_TRUE(contains(warnings[0].at("what"), "27 times")) << warnings[0];
  EXPECT_TRUE(contains(warnings[0].at("remedy"), "apt-get install libopenblas0-openmp"));
  EXPECT_TRUE(contains(warnings[0].at("remedy"), "update-alternatives --config libblas.so.3-"));
}

TEST(Doctor, WarnsOfAnOpenBlasWithThreadsOfItsOwn) {
  const Examined examined = doctor({}, preload("openblas-pthread/libblas.so.3"));
  if (!looks_for_its_blas(examined)) GTEST_SKIP() << "this libtorch has its BLAS inside";
  EXPECT_EQ(examined.report.at("blas").at("kind"), "openblas");
  EXPECT_EQ(examined.report.at("blas").at("threading"), "pthread");
  EXPECT_EQ(examined.report.at("blas").at("own_threads"), 64);
  EXPECT_EQ(found(examined, "blas_own_threads").size(), 1U) << examined.report.dump(2);
}

TEST(Doctor, ALibtorchWithWrongResultsIsUnusable) {
  const Examined examined = doctor({}, preload("openblas-serial/libblas.so.3"));
  if (!looks_for_its_blas(examined)) GTEST_SKIP() << "this libtorch has its BLAS inside";
  EXPECT_EQ(examined.exit_code, 2);
  EXPECT_TRUE(examined.report.at("operation").at("per_second").is_null());
  EXPECT_EQ(found(examined, "operation_failed").size(), 1U) << examined.report.dump(2);
}

TEST(Doctor, WarnsOfTwoOpenMpRuntimes) {
  const Examined plain = doctor();
  if (plain.report.at("openmp").at("runtimes").empty()) GTEST_SKIP() << "libtorch without OpenMP";
  const Examined examined = doctor({}, preload("openmp/libomp.so.5"));
  EXPECT_EQ(examined.exit_code, 1);
  const auto warnings = found(examined, "two_openmp_runtimes");
  ASSERT_EQ(warnings.size(), 1U) << examined.report.dump(2);
  EXPECT_TRUE(contains(warnings[0].at("what"), "openmp/libomp.so.5")) << warnings[0];
}
#endif

}  // namespace
}  // namespace streamgate::tools
