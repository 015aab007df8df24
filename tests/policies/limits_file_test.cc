// SPDX-License-Identifier: Apache-2.0
//
// The promises of limits files: what is read, what is refused and in which words, that what is
// written reads back and is there whole or not at all, and when measured limits hold.
#include <streamgate/policies/limits_file.h>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "../support/messages.h"
#include "../support/temporary_folder.h"

namespace streamgate::policies {
namespace {

using streamgate::testing::contains;
using streamgate::testing::TemporaryFolder;

namespace fs = std::filesystem;

constexpr std::string_view kWholeFile = R"TOML(format = 1
incompatible = [["graph", "raw"], ["kernel", "graph"]]

[provenance]
backend = "emulator"
libtorch = "1.13.1 (build 1a2b3c4d5e6f)"
device = "emulated Metal, seeds-nograph"
driver = ""
os = "Linux 6.1.0 x86_64"

[[classes]]
class = "graph"
ceiling = 3
first_failure = 4
failure = "SIGABRT"
trials = 1200
failures = 0
failure_probability_upper = 0.0025
knee = 2
throughput = [
  { threads = 1, per_second = 4000.5 },
  { threads = 3, per_second = 0.1 },
]

[[classes]]
class = "raw"
ceiling = 8
trials = 10
failures = 0
failure_probability_upper = 0.3

[[classes]]
class = "kernel"
ceiling = 1
first_failure = 1
failure = "hang"
trials = 20
failures = 3
failure_probability_upper = 0.4

[overflow]
workers = 4
gain = 1.9
)TOML";

Limits whole() { return parse_limits(kWholeFile, "l.toml"); }

/// What is wrong with the text; empty when nothing is.
std::string limits_error(std::string_view toml) {
  return testing::message_of<LimitsError>([&] { (void)parse_limits(toml, "l.toml"); });
}

/// What saving says; empty when it is done.
std::string error_of_saving(const Limits& limits, const fs::path& file) {
  return testing::message_of<LimitsError>([&] { save_limits(limits, file); });
}

std::string text_of(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

std::size_t files_in(const TemporaryFolder& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()));
}

// ---- reading ----

TEST(LimitsFile, EachKeyReachesItsOwnField) {
  const Limits limits = whole();
  EXPECT_EQ(limits.provenance, (Provenance{.backend = "emulator",
                                           .libtorch = "1.13.1 (build 1a2b3c4d5e6f)",
                                           .device = "emulated Metal, seeds-nograph",
                                           .os = "Linux 6.1.0 x86_64"}));
  ASSERT_EQ(limits.classes.size(), 3U) << "in the order of kAllOpClasses";
  EXPECT_EQ(limits.classes[0], (ClassLimits{.op_class = OpClass::kRaw,
                                            .ceiling = 8,
                                            .trials = 10,
                                            .failure_probability_upper = 0.3}));
  EXPECT_EQ(limits.classes[1], (ClassLimits{.op_class = OpClass::kKernel,
                                            .ceiling = 1,
                                            .first_failure = 1,
                                            .failure = "hang",
                                            .trials = 20,
                                            .failures = 3,
                                            .failure_probability_upper = 0.4}));
  EXPECT_EQ(limits.classes[2], (ClassLimits{.op_class = OpClass::kGraph,
                                            .ceiling = 3,
                                            .first_failure = 4,
                                            .failure = "SIGABRT",
                                            .trials = 1200,
                                            .failure_probability_upper = 0.0025,
                                            .knee = 2,
                                            .throughput = {{.threads = 1, .per_second = 4000.5},
                                                           {.threads = 3, .per_second = 0.1}}}));
  using Pair = std::pair<OpClass, OpClass>;
  EXPECT_EQ(limits.incompatible, (std::vector<Pair>{Pair(OpClass::kGraph, OpClass::kRaw),
                                                    Pair(OpClass::kKernel, OpClass::kGraph)}));
  EXPECT_EQ(limits.overflow, (OverflowGain{.workers = 4, .gain = 1.9}));
}

TEST(LimitsFile, PrintedLimitsReadBackEqual) {
  Limits odd = whole();
  odd.provenance.device = "a \"quoted\" \\ name";
  odd.classes[2].failure_probability_upper = 0.1 + 0.2;
  odd.classes[2].throughput[1].per_second = 1.0 / 3;
  odd.classes[0].trials = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  odd.overflow.reset();
  Limits least;
  least.classes.push_back({.op_class = OpClass::kExclusive});
  for (const Limits& limits : {whole(), odd, least}) {
    EXPECT_EQ(parse_limits(print_limits(limits), "l.toml"), limits) << print_limits(limits);
  }
}

TEST(LimitsFile, LargestContentFitsTheBoundsOfAFile) {
  Limits limits;
  for (const OpClass op_class : kAllOpClasses) {
    ClassLimits& each = limits.classes.emplace_back();
    each.op_class = op_class;
    each.ceiling = 1023;
    for (std::size_t i = 0; i < 256; ++i) {
      each.throughput.push_back({.threads = 768 + i - 1, .per_second = 12345.678901234567 / 3});
    }
  }
  EXPECT_EQ(parse_limits(print_limits(limits), "l.toml"), limits);
}

/// The whole file with one line in another's place.
std::string with(std::string_view line, std::string_view instead) {
  std::string text(kWholeFile);
  const std::size_t at = text.find(line);
  EXPECT_NE(at, text.npos) << line;
  return text.replace(at, line.size(), instead);
}

TEST(LimitsFile, WhatIsRefusedNamesFileLineKeyAndWhatIsAllowed) {
  const std::pair<std::string, std::string> cases[] = {
      {with("ceiling = 3", "ceiling = 0"),
       "l.toml:13: classes.ceiling = 0 is out of range; allowed: 1..1023"},
      {with("ceiling = 8", "ceiling = 1024"),
       "l.toml:27: classes.ceiling = 1024 is out of range; allowed: 1..1023"},
      {with("ceiling = 8", "ceiling = 8.0"),
       "l.toml:27: classes.ceiling = 8.0 is a float, not an integer; allowed: 1..1023"},
      {with("ceiling = 8\n", ""), "l.toml:25: classes.ceiling is missing; allowed: 1..1023"},
      {with("class = \"raw\"", "class = \"rwa\""),
       "l.toml:26: classes.class = \"rwa\" is not a known word; allowed: \"raw\", \"kernel\", "
       "\"graph\", \"exclusive\""},
      {with("class = \"raw\"\n", ""),
       "l.toml:25: classes.class is missing; allowed: \"raw\", \"kernel\", \"graph\", "
       "\"exclusive\""},
      {with("class = \"raw\"", "class = \"graph\""),
       "l.toml:25: classes.class = \"graph\" is there already; allowed: each class once"},
      {with("first_failure = 4", "first_failure = 3"),
       "l.toml:14: classes.first_failure = 3 is not above the ceiling of 3; allowed: above the "
       "ceiling, or 1 for both"},
      {with("failure = \"SIGABRT\"\n", ""),
       "l.toml:14: classes.first_failure stands alone; allowed: first_failure and failure, or "
       "neither"},
      {with("first_failure = 4\n", ""),
       "l.toml:14: classes.failure stands alone; allowed: first_failure and failure, or neither"},
      {with("trials = 10\n", "trials = -1\n"),
       "l.toml:28: classes.trials = -1 is out of range; allowed: 0..9223372036854775807"},
      {with("failures = 3", "failures = 21"),
       "l.toml:38: classes.failures = 21 is more than the trials"},
      {with("trials = 1200\nfailures = 0", "trials = 1200\nfailures = 1"),
       "l.toml:17: classes.failures = 1 at the ceiling, which is safe; allowed: 0, unless "
       "first_failure = 1"},
      {with("upper = 0.3", "upper = nan"),
       "l.toml:30: classes.failure_probability_upper = nan is out of range; allowed: 0 to 1"},
      {with("upper = 0.3", "upper = 1.1"),
       "l.toml:30: classes.failure_probability_upper = 1.1 is out of range; allowed: 0 to 1"},
      {with("upper = 0.3", "upper = -0.1"),
       "l.toml:30: classes.failure_probability_upper = -0.1 is out of range; allowed: 0 to 1"},
      {with("knee = 2", "knee = 4"),
       "l.toml:19: classes.knee = 4 is above the ceiling of 3; allowed: at most the ceiling"},
      {with("per_second = 4000.5", "per_second = inf"),
       "l.toml:21: classes.throughput.per_second = inf is out of range; allowed: a finite number, "
       "at least 0"},
      {with("threads = 3", "threads = 1"),
       "l.toml:22: classes.throughput.threads = 1 after 1; allowed: rising widths, each once"},
      {with("threads = 3", "treads = 3"),
       "l.toml:22: classes.throughput.threads is missing; allowed: 1..1023\n"
       "l.toml:22: classes.throughput.treads is not a known key; did you mean "
       "classes.throughput.threads? Known keys of [classes.throughput]: threads, per_second"},
      {with("[\"graph\", \"raw\"]", "[\"graph\", \"graph\"]"),
       "l.toml:2: incompatible[] names \"graph\" twice; allowed: two different ones of \"raw\", "
       "\"kernel\", \"graph\", \"exclusive\""},
      {with("[\"kernel\", \"graph\"]", "[\"raw\", \"graph\"]"),
       "l.toml:2: incompatible[] = [\"raw\", \"graph\"] is there already; allowed: each pair once"},
      {with("[\"kernel\", \"graph\"]", "[\"kernel\"]"),
       "l.toml:2: incompatible[] has 1 classes; allowed: two different ones of \"raw\", "
       "\"kernel\", \"graph\", \"exclusive\""},
      {with("workers = 4", "workers = 0"),
       "l.toml:42: overflow.workers = 0 is out of range; allowed: 1..1023"},
      {with("gain = 1.9", "gain = -inf"),
       "l.toml:43: overflow.gain = -inf is out of range; allowed: a finite number, at least 0"},
      {with("gain = 1.9\n", ""),
       "l.toml:41: overflow.gain is missing; allowed: a finite number, at least 0"},
      {with("driver = \"\"", "drivers = \"\""),
       "l.toml:8: provenance.drivers is not a known key; did you mean provenance.driver? Known "
       "keys of [provenance]: backend, libtorch, device, driver, os"},
      {with("driver = \"\"", "driver = \"a\\nb\""),
       "l.toml:8: provenance.driver = \"a\\u000Ab\" is too long or has a control character; "
       "allowed: at most 256 bytes on one line"},
      {with("[provenance]", "[prov]"),
       "l.toml:1: provenance is missing; allowed: a table\n"
       "l.toml:4: prov is not a known key. Known keys: format, provenance, classes, incompatible, "
       "overflow"},
      {"",
       "l.toml:1: classes is missing; allowed: tables, [[classes]], at least one\n"
       "l.toml:1: provenance is missing; allowed: a table"},
  };
  for (const auto& [toml, error] : cases) {
    std::vector<std::string> lines;
    std::istringstream text(limits_error(toml));
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    std::string sorted;
    for (const std::string& line : lines) sorted += (sorted.empty() ? "" : "\n") + line;
    EXPECT_EQ(sorted, error);
  }
}

TEST(LimitsFile, FileOfALaterFormatIsRefusedForThatAlone) {
  const std::string error = limits_error("format = 2\n[classes.graph]\nwidth = 9\n");
  EXPECT_TRUE(
      error.starts_with("l.toml:1: format = 2 is newer than this streamgate, which reads "
                        "up to format 1; remedy: "))
      << error;
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 0) << error;
  EXPECT_EQ(parse_limits(with("format = 1\n", ""), "l.toml"), whole()) << "the first had no word";
  EXPECT_TRUE(contains(limits_error(with("format = 1", "format = 0")), "out of range"));
}

TEST(LimitsFile, FileThatWasCutOffNeverAllowsMore) {
  const std::string text = print_limits(whole());
  const Limits limits = whole();
  std::size_t read = 0;
  for (std::size_t size = 0; size < text.size(); ++size) {
    try {
      const Limits cut = parse_limits(text.substr(0, size), "l.toml");
      ++read;
      EXPECT_EQ(cut.provenance, limits.provenance);
      EXPECT_EQ(cut.incompatible, limits.incompatible);
      for (const ClassLimits& each : cut.classes) {
        const auto measured =
            std::find_if(limits.classes.begin(), limits.classes.end(),
                         [&](const ClassLimits& other) { return other.op_class == each.op_class; });
        ASSERT_NE(measured, limits.classes.end());
        EXPECT_LE(each.ceiling, measured->ceiling);
      }
    } catch (const LimitsError& error) {
      EXPECT_TRUE(std::string_view(error.what()).starts_with("l.toml:")) << error.what();
    }
  }
  EXPECT_LT(read, text.size() * 3 / 4) << "most cuts are seen";
}

TEST(LimitsFile, FileThatCannotBeReadNamesPathAndReason) {
  const TemporaryFolder folder;
  const auto error_of_file = [](const fs::path& file) {
    return testing::message_of<LimitsError>([&] { (void)load_limits(file); });
  };
  EXPECT_EQ(error_of_file(folder / "absent.toml"),
            (folder / "absent.toml").string() + ": cannot be read: No such file or directory");
  EXPECT_EQ(error_of_file(folder.path()),
            folder.path().string() + ": cannot be read: Is a directory");
  EXPECT_EQ(error_of_file("/dev/zero"), "/dev/zero: is larger than 65536 bytes");
  std::ofstream(folder / "elf") << "\x7f"
                                << "ELF";
  EXPECT_TRUE(contains(error_of_file(folder / "elf"), ":1: is not TOML: "));
}

// ---- writing ----

TEST(SaveLimits, SavedLimitsReadBackEqualAndAllMayReadThem) {
  const TemporaryFolder folder;
  const fs::path file = folder / "limits.toml";
  const mode_t mask = ::umask(077);
  EXPECT_EQ(error_of_saving(whole(), file), "");
  ::umask(mask);
  EXPECT_EQ(load_limits(file), whole());
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0644U);
  EXPECT_EQ(files_in(folder), 1U);
}

TEST(SaveLimits, OldFileIsReplacedThroughItsLink) {
  const TemporaryFolder folder;
  std::ofstream(folder / "old.toml") << "old";
  fs::create_symlink("old.toml", folder / "link.toml");
  EXPECT_EQ(error_of_saving(whole(), folder / "link.toml"), "");
  EXPECT_TRUE(fs::is_symlink(folder / "link.toml"));
  EXPECT_EQ(load_limits(folder / "old.toml"), whole());
  EXPECT_EQ(files_in(folder), 2U);
}

TEST(SaveLimits, ReaderOfTheOldFileKeepsTheOldText) {
  const TemporaryFolder folder;
  const fs::path file = folder / "limits.toml";
  std::ofstream(file) << "old text";
  std::ifstream reader(file);
  EXPECT_EQ(error_of_saving(whole(), file), "");
  std::ostringstream seen;
  seen << reader.rdbuf();
  EXPECT_EQ(seen.str(), "old text") << "the file was written in place";
}

TEST(SaveLimits, WhatCannotBeWrittenNamesPathAndRemedyAndLeavesNothing) {
  const TemporaryFolder folder;
  const fs::path absent = folder / "absent" / "limits.toml";
  EXPECT_EQ(error_of_saving(whole(), absent),
            absent.string() +
                ": cannot be written: No such file or directory; remedy: make the "
                "folder first, or choose another path");
  EXPECT_EQ(error_of_saving(whole(), folder.path()),
            folder.path().string() +
                ": cannot be written: it is there, and no regular file; remedy: choose another "
                "path");
  EXPECT_EQ(error_of_saving(whole(), "/dev/null"),
            "/dev/null: cannot be written: it is there, and no regular file; remedy: choose "
            "another path");
  std::ofstream(folder / "file") << "x";
  EXPECT_TRUE(contains(error_of_saving(whole(), folder / "file" / "limits.toml"), "; remedy: "));
  EXPECT_EQ(files_in(folder), 1U);
}

TEST(SaveLimits, FolderWithoutPermissionNamesPathAndRemedy) {
  const TemporaryFolder folder;
  fs::path refusing = folder.path();
  fs::permissions(refusing, fs::perms::owner_read | fs::perms::owner_exec);
  // Root may write to any folder but one that the kernel keeps to itself.
  if (::geteuid() == 0) refusing = "/sys";
  const std::string error = error_of_saving(whole(), refusing / "limits.toml");
  fs::permissions(folder.path(), fs::perms::owner_all);
  if (!fs::exists(refusing)) GTEST_SKIP() << "no folder refuses root here";
  EXPECT_TRUE(error == (refusing / "limits.toml").string() +
                           ": cannot be written: Permission denied; remedy: choose a path in a "
                           "folder that this user may write to" ||
              contains(error, "Read-only file system; remedy: choose a path in a folder"))
      << error;
}

TEST(SaveLimits, WhatWouldNotReadBackIsNotWritten) {
  const TemporaryFolder folder;
  std::ofstream(folder / "limits.toml") << "old";
  Limits wrong = whole();
  wrong.classes[0].ceiling = 0;
  EXPECT_TRUE(contains(error_of_saving(wrong, folder / "limits.toml"), "classes.ceiling = 0"));
  Limits disordered = whole();
  std::swap(disordered.classes[0], disordered.classes[1]);
  EXPECT_TRUE(contains(error_of_saving(disordered, folder / "limits.toml"), "is not written"));
  EXPECT_EQ(text_of(folder / "limits.toml"), "old");
  EXPECT_EQ(files_in(folder), 1U);
}

// ---- whether they hold ----

TEST(Differences, SameProvenanceHasNone) {
  EXPECT_TRUE(differences(whole().provenance, whole().provenance).empty());
  EXPECT_TRUE(differences({}, {}).empty());
}

TEST(Differences, EachFieldThatDiffersIsNamedWithBothValues) {
  const Provenance there = {
      .backend = "mps", .libtorch = "2.14.0", .device = "M4", .driver = "7", .os = "Darwin 25"};
  const Provenance here = {
      .backend = "cuda", .libtorch = "2.13.1", .device = "M1", .driver = "", .os = "Darwin 24"};
  EXPECT_EQ(differences(there, here),
            (std::vector<std::string>{
                "backend mps there, cuda here", "libtorch 2.14.0 there, 2.13.1 here",
                "device M4 there, M1 "
                "here",
                "driver 7 there, unknown here", "os Darwin 25 there, Darwin 24 here"}));
}

TEST(Differences, AnotherBuildOfTheSameVersionDiffers) {
  EXPECT_EQ(
      differences({.libtorch = "2.6.0 (build 1a2b)"}, {.libtorch = "2.6.0 (build 3c4d)"}),
      (std::vector<std::string>{"libtorch 2.6.0 (build 1a2b) there, 2.6.0 (build 3c4d) here"}));
}

}  // namespace
}  // namespace streamgate::policies
