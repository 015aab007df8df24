// SPDX-License-Identifier: Apache-2.0
//
// The promises of the configuration: what is read, what is refused and in which words, and that
// what is printed reads back.
#include <streamgate/policies/config.h>
#include <streamgate/policies/limit_policy.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
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

using testing::contains;
using testing::TemporaryFolder;

Config parse(std::string_view toml) { return parse_config(toml, "sg.toml"); }

/// What is wrong with the text; empty when nothing is.
std::string config_error(std::string_view toml) {
  return testing::message_of<ConfigError>([&] { (void)parse(toml); });
}

/// The same for a file.
std::string config_file_error(const std::filesystem::path& file) {
  return testing::message_of<ConfigError>([&] { (void)load_config(file); });
}

/// A value of each key that is allowed and is not its default, by the key's name.
const std::map<std::string_view, std::string>& other_values() {
  static const std::map<std::string_view, std::string> values = {
      {"executor.backend", "\"emulator\""},
      {"executor.threads", "3"},
      {"executor.intra_op_threads", "2"},
      {"executor.adapt_intra_op", "true"},
      {"executor.allow_oversubscription", "true"},
      {"executor.streams", "7"},
      {"executor.drain_timeout_ms", "1500"},
      {"queue.max_tasks", "12"},
      {"queue.max_bytes", "4096"},
      {"queue.when_full", "\"shed_lowest\""},
      {"memory.budget_bytes", "4096"},
      {"memory.headroom_bytes", "8192"},
      {"memory.learn_calls", "true"},
      {"gate.raw.policy", "\"aimd\""},
      {"gate.kernel.policy", "\"vegas\""},
      {"gate.graph.policy", "\"gradient2\""},
      {"gate.exclusive.policy", "\"fixed\""},
      {"gate.raw.limit", "100"},
      {"gate.raw.ceiling", "1023"},
      {"gate.kernel.limit", "2"},
      {"gate.kernel.ceiling", "4"},
      {"gate.graph.limit", "1"},
      {"gate.graph.ceiling", "3"},
      {"gate.exclusive.limit", "1"},
      {"gate.exclusive.ceiling", "1"},
      {"gate.raw.shadow", "true"},
      {"gate.raw.latency_target_us", "2000"},
      {"gate.raw.queue_delay_us", "300"},
      {"gate.kernel.shadow", "true"},
      {"gate.kernel.latency_target_us", "2000"},
      {"gate.kernel.queue_delay_us", "300"},
      {"gate.graph.shadow", "true"},
      {"gate.graph.latency_target_us", "2000"},
      {"gate.graph.queue_delay_us", "300"},
      {"gate.exclusive.shadow", "true"},
      {"gate.exclusive.latency_target_us", "2000"},
      {"gate.exclusive.queue_delay_us", "300"},
      {"limits.file", "\"limits.toml\""},
      {"emulator.fault_model", "\"seeds-nograph\""},
      {"emulator.libtorch", "\"2.12\""},
      {"mps.force_graph_path", "true"},
      {"cuda.device", "1"},
      {"cuda.capture_mode", "\"relaxed\""},
      {"cuda.graph_cache_bytes", "1048576"},
      {"op_table.file", "\"ops.toml\""},
      {"overflow.policy", "\"when_full\""},
      {"overflow.workers", "4"},
      {"overflow.min_workers", "2"},
      {"overflow.worker_command", "\"/usr/bin/streamgate\""},
      {"overflow.worker_threads", "2"},
      {"overflow.arena_bytes", "2097152"},
      {"overflow.run_timeout_ms", "5000"},
      {"overflow.hang_timeout_ms", "30000"},
      {"overflow.idle_timeout_ms", "1000"},
      {"overflow.attempts", "1"},
      {"overflow.quarantine_after", "5"},
      {"overflow.recycle_calls", "1000"},
      {"overflow.recycle_growth_bytes", "0"},
      {"metrics.enabled", "false"},
      {"metrics.address", "\"::1\""},
      {"metrics.port", "9090"},
      {"metrics.status", "\"always\""}};
  return values;
}

/// A config in which every key differs from its default.
std::string other_config() {
  std::string toml;
  for (const auto& [name, value] : other_values()) toml += std::string(name) + " = " + value + "\n";
  return toml;
}

// ---- What is read ----

TEST(Config, EmptyTextIsTheDefaultConfig) {
  EXPECT_EQ(parse(""), Config{});
  EXPECT_EQ(parse("# nothing\n\n"), Config{});
  EXPECT_EQ(parse("[executor]\n[queue]\n[gate.graph]\n"), Config{});
}

TEST(Config, EachKeyReachesItsOwnFieldInItsUnit) {
  const Config config = parse(R"(
[executor]
backend = "inline"
threads = 3
intra_op_threads = 2
allow_oversubscription = true
streams = 7
drain_timeout_ms = 1_500
[queue]
max_tasks = 12
max_bytes = 0x1000
when_full = "shed_lowest"
[gate.raw]
policy = "fixed"
limit = 100
ceiling = 1023
[gate.kernel]
limit = 2
ceiling = 4
[gate.graph]
ceiling = 3
[gate.exclusive]
limit = 1
[limits]
file = "l.toml"
[emulator]
fault_model = "hanging"
libtorch = "2.13"
[mps]
force_graph_path = true
[cuda]
device = 63
capture_mode = "relaxed"
graph_cache_bytes = 0
[op_table]
file = "o.toml"
[metrics]
enabled = false
address = "::1"
port = 65535
)");
  EXPECT_EQ(config.executor, (Config::Executor{.backend = "inline",
                                               .threads = 3,
                                               .intra_op_threads = 2,
                                               .allow_oversubscription = true,
                                               .streams = 7,
                                               .drain_timeout = std::chrono::milliseconds(1'500)}));
  EXPECT_EQ(
      config.queue,
      (Config::Queue{.max_tasks = 12, .max_bytes = 4096, .when_full = WhenFull::kShedLowest}));
  EXPECT_EQ(config.gates[index_of(OpClass::kRaw)],
            (GateConfig{.policy = "fixed", .limit = 100, .ceiling = 1023}));
  EXPECT_EQ(config.gates[index_of(OpClass::kKernel)], (GateConfig{.limit = 2, .ceiling = 4}));
  EXPECT_EQ(config.gates[index_of(OpClass::kGraph)], (GateConfig{.ceiling = 3}));
  EXPECT_EQ(config.gates[index_of(OpClass::kExclusive)], (GateConfig{.limit = 1}));
  EXPECT_EQ(config.limits.file, "l.toml");
  EXPECT_EQ(config.emulator.fault_model, "hanging");
  EXPECT_EQ(config.emulator.libtorch, "2.13");
  EXPECT_TRUE(config.mps.force_graph_path);
  EXPECT_EQ(config.cuda, (Config::Cuda{.device = 63, .capture_mode = "relaxed", .graph_cache_bytes = 0}));
  EXPECT_EQ(config.op_table.file, "o.toml");
  EXPECT_EQ(config.metrics, (Config::Metrics{.enabled = false, .address = "::1", .port = 65'535}));
}

TEST(Config, DottedKeysAndInlineTablesAreTheSameConfig) {
  const Config config = parse("[gate.graph]\nlimit = 2\n[queue]\nmax_tasks = 5\n");
  EXPECT_EQ(parse("gate.graph.limit = 2\nqueue.max_tasks = 5\n"), config);
  EXPECT_EQ(parse("gate = { graph = { limit = 2 } }\r\nqueue = { max_tasks = 5 }"), config);
}

struct Range {
  std::string_view key;
  std::vector<std::string> allowed;
  std::vector<std::string> refused;
};

TEST(Config, RangesHoldAtBothEnds) {
  const std::vector<Range> ranges = {
      {"executor.threads", {"0", "1024"}, {"-1", "1025"}},
      {"executor.intra_op_threads", {"0", "1024"}, {"-1", "1025"}},
      {"executor.streams", {"1", "64"}, {"0", "65"}},
      {"executor.drain_timeout_ms", {"0", "86400000"}, {"-1", "86400001"}},
      {"queue.max_tasks", {"1", "1000000000"}, {"0", "1000000001"}},
      {"queue.max_bytes", {"1", "1125899906842624"}, {"0", "1125899906842625"}},
      {"memory.budget_bytes", {"0", "1125899906842624"}, {"-1", "1125899906842625"}},
      {"memory.headroom_bytes", {"0", "1125899906842624"}, {"-1", "1125899906842625"}},
      {"gate.raw.limit", {"0", "1023"}, {"-1", "1024"}},
      {"gate.raw.ceiling", {"0", "1023"}, {"-1", "1024"}},
      {"gate.kernel.limit", {"0", "1023"}, {"-1", "1024"}},
      {"gate.kernel.ceiling", {"0", "1023"}, {"-1", "1024"}},
      {"gate.graph.limit", {"0", "1023"}, {"-1", "1024"}},
      {"gate.graph.ceiling", {"0", "1023"}, {"-1", "1024"}},
      {"gate.exclusive.limit", {"0", "1"}, {"-1", "2"}},
      {"gate.exclusive.ceiling", {"0", "1"}, {"-1", "2"}},
      {"overflow.workers", {"0", "1023"}, {"-1", "1024"}},
      {"overflow.min_workers", {"0", "1023"}, {"-1", "1024"}},
      {"overflow.worker_threads", {"0", "1024"}, {"-1", "1025"}},
      {"overflow.arena_bytes", {"1048576", "1099511627776"}, {"1048575", "1099511627777"}},
      {"overflow.run_timeout_ms", {"0", "86400000"}, {"-1", "86400001"}},
      {"overflow.hang_timeout_ms", {"100", "86400000"}, {"99", "86400001"}},
      {"overflow.idle_timeout_ms", {"0", "86400000"}, {"-1", "86400001"}},
      {"overflow.attempts", {"1", "100"}, {"0", "101"}},
      {"overflow.quarantine_after", {"0", "1000"}, {"-1", "1001"}},
      {"overflow.recycle_calls", {"0", "1000000000"}, {"-1", "1000000001"}},
      {"overflow.recycle_growth_bytes", {"0", "1099511627776"}, {"-1", "1099511627777"}},
      {"metrics.port", {"0", "65535"}, {"-1", "65536"}},
  };
  for (const Range& range : ranges) {
    const std::string key(range.key);
    for (const std::string& value : range.allowed) {
      EXPECT_EQ(config_error(key + " = " + value), "");
    }
    for (const std::string& value : range.refused) {
      EXPECT_EQ(config_error(key + " = " + value),
                "sg.toml:1: " + key + " = " + value + " is out of range; allowed: " +
                    range.allowed.front() + ".." + range.allowed.back());
    }
    EXPECT_TRUE(contains(config_error(key + " = -9223372036854775808"), "is out of range"));
    EXPECT_TRUE(contains(config_error(key + " = 9223372036854775807"), "is out of range"));
  }
}

TEST(Config, EveryWordIsTakenAndNoOther) {
  for (const std::string_view word : {"cpu", "cuda", "mps", "emulator", "inline"}) {
    EXPECT_EQ(parse("executor.backend = '" + std::string(word) + "'").executor.backend, word);
  }
  EXPECT_EQ(config_error("[executor]\nbackend = \"CPU\""),
            "sg.toml:2: executor.backend = \"CPU\" is not a known word; allowed: \"cpu\", "
            "\"cuda\", \"mps\", \"emulator\", \"inline\"");
  EXPECT_EQ(parse("queue.when_full = 'reject'").queue.when_full, WhenFull::kReject);
  EXPECT_EQ(config_error("queue.when_full = ''"),
            "sg.toml:1: queue.when_full = \"\" is not a known word; allowed: \"reject\", "
            "\"shed_lowest\"");
}

TEST(Config, GatesTakeExactlyThePoliciesThatCanBeMade) {
  for (const OpClass op_class : kAllOpClasses) {
    const std::string key = "gate." + std::string(to_string(op_class)) + ".policy";
    for (const std::string_view name : kLimitPolicyNames) {
      const Config config = parse(key + " = '" + std::string(name) + "'");
      EXPECT_EQ(config.gates[index_of(op_class)].policy, name);
    }
    EXPECT_TRUE(contains(config_error(key + " = 'fixt'"), key + " = \"fixt\" is not a known word"));
  }
}

TEST(Config, AddressIsALiteralOrLocalhost) {
  for (const char* address : {"127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1", "localhost"}) {
    EXPECT_EQ(parse("metrics.address = '" + std::string(address) + "'").metrics.address, address);
  }
  for (const char* address : {"", "localhost ", "example.com", "127.0.0.1:80", "[::1]", "1.2.3",
                              "256.0.0.1", "127.0.0.1\\u0000", "localhost\\u0000x"}) {
    EXPECT_EQ(config_error("metrics.address = \"" + std::string(address) + "\""),
              "sg.toml:1: metrics.address = \"" + std::string(address) +
                  "\" is not an address; allowed: an IPv4 or IPv6 literal, \"localhost\"");
  }
}

TEST(Config, PathsAreOneLineOfBoundedLength) {
  for (const char* key : {"limits.file", "emulator.fault_model", "op_table.file"}) {
    EXPECT_EQ(config_error(std::string(key) + " = \"" + std::string(4'096, 'x') + "\""), "");
    EXPECT_TRUE(contains(config_error(std::string(key) + " = \"" + std::string(4'097, 'x') + "\""),
                         "allowed: at most 4096 bytes on one line"));
    EXPECT_EQ(config_error(std::string(key) + " = \"a\\u0000b\""),
              "sg.toml:1: " + std::string(key) +
                  " = \"a\\u0000b\" is too long or has a control character; allowed: at most 4096 "
                  "bytes on one line");
  }
}

// ---- What is refused ----

TEST(Config, UnknownKeyNamesFileLineAndNearestKey) {
  EXPECT_EQ(config_error("# one\n[queue]\n\nmax_task = 5\n"),
            "sg.toml:4: queue.max_task is not a known key; did you mean queue.max_tasks? "
            "Known keys of [queue]: max_tasks, max_bytes, when_full");
  EXPECT_EQ(config_error("[executor]\ndrain_timeout = 5\n"),
            "sg.toml:2: executor.drain_timeout is not a known key; did you mean "
            "executor.drain_timeout_ms? Known keys of [executor]: backend, threads, "
            "intra_op_threads, adapt_intra_op, allow_oversubscription, streams, "
            "drain_timeout_ms");
}

TEST(Config, UnknownKeyFarFromAllOthersGetsNoGuess) {
  EXPECT_EQ(config_error("queue.colour = 'red'"),
            "sg.toml:1: queue.colour is not a known key. "
            "Known keys of [queue]: max_tasks, max_bytes, when_full");
}

TEST(Config, KeyInTheWrongSectionIsSentToItsOwn) {
  EXPECT_TRUE(contains(config_error("max_tasks = 5"),
                       "sg.toml:1: max_tasks is not a known key; did you mean queue.max_tasks? "
                       "Known sections: executor, queue, memory, gate, limits, emulator, mps, cuda, "
                       "op_table, overflow, metrics"));
  EXPECT_TRUE(contains(config_error("[executor]\nmax_bytes = 5"), "did you mean queue.max_bytes?"));
  EXPECT_TRUE(contains(config_error("[gate]\nlimit = 5"),
                       "sg.toml:2: gate.limit is not a known key; did you mean gate.raw.limit? "
                       "Known keys of [gate]: raw, kernel, graph, exclusive"));
}

TEST(Config, KeysMatchLetterForLetter) {
  EXPECT_TRUE(contains(config_error("[queue]\nMax_Tasks = 5"), "queue.Max_Tasks is not a known key"));
  EXPECT_TRUE(contains(config_error("\"queue.max_tasks\" = 5"), "\"queue.max_tasks\" is not a known"));
  EXPECT_TRUE(contains(config_error("queue.\"\" = 5"), "queue.\"\" is not a known key"));
}

TEST(Config, UnknownSectionIsNamedOnceWithTheNearestOne) {
  EXPECT_EQ(config_error("\n[queu]\nmax_tasks = 5\ncolour = 1\n"),
            "sg.toml:2: [queu] is not a known section; did you mean [queue]? "
            "Known sections: executor, queue, memory, gate, limits, emulator, mps, cuda, op_table, "
            "overflow, metrics");
  EXPECT_EQ(config_error("[gate.grph]\nlimit = 5\n"),
            "sg.toml:1: [gate.grph] is not a known section; did you mean [gate.graph]? "
            "Known keys of [gate]: raw, kernel, graph, exclusive");
  EXPECT_EQ(config_error("[[logging]]\nlevel = 5\n"),
            "sg.toml:1: [logging] is not a known section. "
            "Known sections: executor, queue, memory, gate, limits, emulator, mps, cuda, op_table, "
            "overflow, metrics");
}

TEST(Config, SectionNameUsedAsAValueIsNamed) {
  EXPECT_EQ(config_error("queue = 5"),
            "sg.toml:1: queue is a section, not a value; "
            "Known keys of [queue]: max_tasks, max_bytes, when_full");
  EXPECT_TRUE(contains(config_error("[gate]\nraw = 5"), "sg.toml:2: gate.raw is a section, not a"));
  EXPECT_TRUE(contains(config_error("gate = 'raw'"), "sg.toml:1: gate is a section, not a value"));
  EXPECT_TRUE(contains(config_error("[[queue]]\nmax_tasks = 5"), "queue is a section, not a value"));
}

TEST(Config, KeyUsedAsASectionIsAWrongType) {
  EXPECT_EQ(config_error("[queue.max_tasks]\nvalue = 5"),
            "sg.toml:1: queue.max_tasks is a table, not an integer; allowed: 1..1000000000");
}

TEST(Config, WrongTypeNamesValueTypeAndRange) {
  const std::pair<std::string, std::string> cases[] = {
      {"\"4\"", "= \"4\" is a string"},  {"4.5", "= 4.5 is a float"},
      {"4.0", "= 4.0 is a float"},       {"1e3", "= 1000.0 is a float"},
      {"nan", "= nan is a float"},       {"-inf", "= -inf is a float"},
      {"true", "= true is a boolean"},   {"[4]", "is an array"},
      {"{ a = 4 }", "is a table"},       {"2026-11-21", "is a date or time"},
      {"07:32:00", "is a date or time"}, {"1979-05-27T07:32:00Z", "is a date or time"},
  };
  for (const auto& [value, shown] : cases) {
    EXPECT_EQ(config_error("[executor]\nthreads = " + value),
              "sg.toml:2: executor.threads " + shown + ", not an integer; allowed: 0..1024");
  }
  EXPECT_EQ(config_error("metrics.enabled = 1"),
            "sg.toml:1: metrics.enabled = 1 is an integer, not a boolean; allowed: true, false");
  EXPECT_EQ(config_error("metrics.address = 1"),
            "sg.toml:1: metrics.address = 1 is an integer, not a string; "
            "allowed: an IPv4 or IPv6 literal, \"localhost\"");
}

TEST(Config, EveryKeyRefusesEveryOtherType) {
  for (const ConfigKey& key : config_keys()) {
    int refused = 0;
    for (const char* value : {"true", "1", "\"cpu\"", "1.0", "[1]", "{ a = 1 }", "07:32:00"}) {
      const std::string error = config_error(std::string(key.name) + " = " + value);
      if (contains(error, ", not a") && contains(error, key.name)) ++refused;
    }
    EXPECT_EQ(refused, 6) << key.name;
  }
}

TEST(Config, IntegerBeyond64BitsNamesKeyAndRange) {
  for (const char* value : {"9223372036854775808", "-9223372036854775809",
                            "99999999999999999999999999", "0xFFFFFFFFFFFFFFFF"}) {
    const std::string error = config_error("[executor]\nthreads = " + std::string(value) + "\n");
    EXPECT_TRUE(contains(error, "sg.toml:2: executor.threads = " + std::string(value))) << error;
    EXPECT_TRUE(error.ends_with("; allowed: 0..1024")) << error;
  }
}

TEST(Config, BareWordNamesKeyAndAllowedWords) {
  const std::string error = config_error("[queue]\nwhen_full = reject  \nmax_tasks = 5\n");
  EXPECT_TRUE(contains(error, "sg.toml:2: queue.when_full = reject is not TOML: ")) << error;
  EXPECT_TRUE(error.ends_with("; allowed: \"reject\", \"shed_lowest\"")) << error;
}

TEST(Config, BrokenTomlNamesFileAndLine) {
  const std::pair<std::string, std::string> cases[] = {
      {"[queue]\nmax_tasks\n", "sg.toml:2: is not TOML: "},
      {"[queue]\n= 5\n", "sg.toml:2: is not TOML: "},
      {"[queue\nmax_tasks = 5\n", "sg.toml:1: is not TOML: "},
      {"\n\n[queue]]\n", "sg.toml:3: is not TOML: "},
      {"[queue] = 5\nmax_tasks = 5\n", "sg.toml:1: is not TOML: "},
      {"[queue]\nmax tasks = 5\n", "sg.toml:2: is not TOML: "},
      {"[executor]\nthreads =\n", "sg.toml:2: executor.threads =  is not TOML: "},
      {"[executor]\nthreads = 07\n", "sg.toml:2: executor.threads = 07 is not TOML: "},
      {"[executor]\nthreads = 1 streams = 2\n", "sg.toml:2: executor.threads = 1 streams = 2 is"},
      {"[executor]\nbackend = \"cpu\n", "sg.toml:2: executor.backend = \"cpu is not TOML: "},
      {"[executor]\nbackend = \"\\uD800\"\n", "sg.toml:2: executor.backend = \"\\uD800\" is not"},
      {"[executor]\nbackend = \"\xff\"\n", "sg.toml:2: "},
      {std::string("[executor]\n# \0\n", 15), "sg.toml:2: is not TOML: "},
      {"[executor]\nbackend = '''cpu\n", "is not TOML: "},
      {"[executor]\nthreads = [1,\n2,,3]\n", "sg.toml:3: is not TOML: "},
      {"}", "sg.toml:1: is not TOML: "},
  };
  for (const auto& [toml, error] : cases) {
    EXPECT_TRUE(contains(config_error(toml), error)) << toml << "\ngives\n" << config_error(toml);
    EXPECT_TRUE(config_error(toml).starts_with("sg.toml:")) << toml << "\ngives\n" << config_error(toml);
  }
}

TEST(Config, DuplicateKeyAndSectionNameTheSecondLine) {
  const std::string key = config_error("[queue]\nmax_tasks = 5\nmax_bytes = 1\nmax_tasks = 6\n");
  EXPECT_TRUE(key.starts_with("sg.toml:4: is not TOML: ")) << key;
  EXPECT_TRUE(contains(key, "max_tasks")) << key;
  const std::string section = config_error("[queue]\n[metrics]\n[queue]\n");
  EXPECT_TRUE(section.starts_with("sg.toml:3: is not TOML: ")) << section;
  EXPECT_TRUE(contains(section, "queue")) << section;
}

TEST(Config, LimitAboveItsCeilingNamesBothKeys) {
  EXPECT_EQ(config_error("[gate.graph]\nlimit = 4\n\nceiling = 3\n"),
            "sg.toml:4: gate.graph.limit = 4 is above gate.graph.ceiling = 3; "
            "allowed: at most the ceiling, or 0 for either");
  EXPECT_EQ(config_error("[gate.graph]\nlimit = 3\nceiling = 3\n"), "");
  EXPECT_EQ(config_error("[gate.graph]\nlimit = 4\n[gate.kernel]\nceiling = 3\n"), "");
  EXPECT_EQ(config_error("[gate.graph]\nlimit = 4\nceiling = 0\n"), "");
  EXPECT_EQ(config_error("[gate.graph]\nlimit = 0\nceiling = 3\n"), "");
}

TEST(Config, AllErrorsAreReportedInTheOrderOfLines) {
  const std::string error = config_error(
      "colour = 1\n"                           // 1: unknown
      "[queue]\n"                              //
      "max_tasks = 0\n"                        // 3: range
      "when_full = reject\n"                   // 4: not TOML, value
      "max_bytes = 99999999999999999999999\n"  // 5: beyond 64 bits
      "[gate.graph]\n"                         //
      "ceiling = 2\n"                          //
      "limit = 3\n"                            // 8: above the ceiling
      "ceiling = 4\n"                          // 9: duplicate
      "[executor]\n"                           //
      "threads = 1.5\n"                        // 11: type
      "treads = x\n"                           // 12: unknown, and not TOML
      "[queue]\n"                              // 13: duplicate section: the last to be seen
      "max_task = 5\n");
  const char* expected[] = {"sg.toml:1: colour ",
                            "sg.toml:3: queue.max_tasks = 0 ",
                            "sg.toml:4: queue.when_full = reject ",
                            "sg.toml:5: queue.max_bytes = 99999999999999999999999 ",
                            "sg.toml:8: gate.graph.limit = 3 is above",
                            "sg.toml:9: is not TOML",
                            "sg.toml:11: executor.threads = 1.5 ",
                            "sg.toml:12: executor.treads is not a known key",
                            "sg.toml:12: is not TOML",
                            "sg.toml:13: is not TOML"};
  std::istringstream lines(error);
  for (const char* start : expected) {
    std::string line;
    ASSERT_TRUE(std::getline(lines, line)) << "no line " << start << " in\n" << error;
    EXPECT_TRUE(line.starts_with(start)) << line;
  }
  std::string more;
  EXPECT_FALSE(std::getline(lines, more)) << more;
}

TEST(Config, EachErrorIsOneLineWhateverTheValueHolds) {
  const std::string error = config_error("\"a\\nb\" = 1\nexecutor.backend = \"\"\"c\nd\\u007F\"\"\"\n");
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  EXPECT_TRUE(contains(error, "\"a\\u000Ab\" is not a known key")) << error;
  EXPECT_TRUE(contains(error, "\"c\\u000Ad\\u007F\" is not a known word")) << error;
}

TEST(Config, ErrorHoldsNoNulAndNoRawControlCharacter) {
  const std::string error = config_error(std::string("executor.threads = \0\x01\nqueue.x = 1\n", 32));
  EXPECT_TRUE(contains(error, "executor.threads = \\u0000\\u0001 is not TOML")) << error;
  EXPECT_TRUE(contains(error, "queue.x is not a known key")) << error;
}

TEST(Config, BrokenLineHidesNoOtherKeyOfItsSection) {
  const std::string error = config_error("queue.max_tasks = cpu\nqueue.max_bytes = 0\n");
  EXPECT_TRUE(contains(error, "sg.toml:1: queue.max_tasks = cpu is not TOML")) << error;
  EXPECT_TRUE(contains(error, "sg.toml:2: queue.max_bytes = 0 is out of range")) << error;
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
}

TEST(Config, HostileTextEndsInAnErrorSoon) {
  std::string dots;
  while (dots.size() < 4'000) dots += "a.";
  EXPECT_TRUE(contains(config_error(dots + "a = 1"), "sg.toml:1: [a] is not a known section"));
  EXPECT_TRUE(contains(config_error("[" + dots + "a]"), "sg.toml:1: [a] is not a known section"));
  while (dots.size() < 60'000) dots += "a.";
  EXPECT_EQ(config_error(dots + "a = 1"), "sg.toml: has more than 2000 dots");
  EXPECT_NE(config_error("queue = " + std::string(60'000, '[')), "");
  std::string broken;
  while (broken.size() < 60'000) broken += "=\n";
  EXPECT_NE(config_error(broken), "");
  EXPECT_EQ(config_error(std::string(70'000, '\n')), "sg.toml: is larger than 65536 bytes");
}

// ---- Files ----

TEST(Config, FileIsReadAndNamedInErrors) {
  const TemporaryFolder folder;
  EXPECT_EQ(load_config(folder.write("good.toml", "queue.max_tasks = 5\n")).queue.max_tasks, 5U);
  EXPECT_EQ(load_config(folder.write("empty.toml", "")), Config{});
  const auto bad = folder.write("bad.toml", "\nqueue.max_tasks = 0\n");
  EXPECT_TRUE(config_file_error(bad).starts_with(bad.string() + ":2: queue.max_tasks = 0 is out of"));
}

TEST(Config, FileThatCannotBeReadNamesPathAndReason) {
  const TemporaryFolder folder;
  const auto absent = folder.path() / "absent.toml";
  EXPECT_EQ(config_file_error(absent), absent.string() + ": cannot be read: No such file or directory");
  EXPECT_EQ(config_file_error(folder.path()),
            folder.path().string() + ": cannot be read: Is a directory");
}

TEST(Config, FileWithoutEndIsRefused) {
  EXPECT_EQ(config_file_error("/dev/zero"), "/dev/zero: is larger than 65536 bytes");
}

// ---- The table ----

TEST(ConfigKeys, EveryFieldOfConfigHasItsRow) {
  // A new field does not compile here until it is counted, and fails until it has its row.
  const Config config;
  const auto& [executor, queue, memory, gates, limits, emulator, mps, cuda, op_table, overflow,
               metrics] = config;
  const auto& [backend, threads, intra_op_threads, adapt, allow, streams, drain] = executor;
  const auto& [max_tasks, max_bytes, when_full] = queue;
  const auto& [budget, headroom, learn_calls] = memory;
  const auto& [policy, limit, ceiling, shadow, latency, delay] = gates[0];
  const auto& [limits_file] = limits;
  const auto& [fault_model, libtorch] = emulator;
  const auto& [force_graph_path] = mps;
  const auto& [cuda_device, capture_mode, graph_cache_bytes] = cuda;
  const auto& [op_table_file] = op_table;
  const auto& [overflow_policy, workers, min_workers, command, worker_threads, arena, run_timeout,
               hang_timeout, idle_timeout, attempts, quarantine_after, calls, growth] = overflow;
  const auto& [enabled, address, port, status] = metrics;
  const std::size_t fields = 7 + 3 + 3 + 6 * kOpClasses + 5 + 3 + 13 + 4;
  EXPECT_EQ(config_keys().size(), fields);
  (void)backend, (void)threads, (void)intra_op_threads, (void)allow, (void)streams, (void)drain;
  (void)max_tasks, (void)max_bytes, (void)when_full, (void)enabled, (void)address, (void)port;
  (void)policy, (void)limit, (void)ceiling, (void)limits_file, (void)fault_model, (void)libtorch;
  (void)force_graph_path, (void)op_table_file, (void)cuda_device, (void)capture_mode, (void)adapt;
  (void)shadow, (void)latency, (void)delay, (void)overflow_policy, (void)workers, (void)min_workers;
  (void)budget, (void)headroom, (void)learn_calls;
  (void)command, (void)worker_threads, (void)arena, (void)run_timeout, (void)hang_timeout;
  (void)idle_timeout, (void)attempts, (void)quarantine_after, (void)calls, (void)growth;
  (void)graph_cache_bytes, (void)status;
}

TEST(ConfigKeys, NamesAreUniqueAndEveryRowIsDocumented) {
  std::set<std::string_view> names;
  for (const ConfigKey& key : config_keys()) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name;
    EXPECT_FALSE(key.allowed.empty()) << key.name;
    EXPECT_FALSE(key.default_value.empty()) << key.name;
    EXPECT_TRUE(key.help.ends_with(".")) << key.name;
  }
}

TEST(ConfigKeys, DefaultsAreThoseOfConfigAndAllowed) {
  std::string toml;
  for (const ConfigKey& key : config_keys()) {
    toml += std::string(key.name) + " = " + std::string(key.default_value) + "\n";
  }
  EXPECT_EQ(parse(toml), Config{});
}

TEST(ConfigKeys, ReloadClassesAreAsPromised) {
  for (const ConfigKey& key : config_keys()) {
    const bool live = key.name.starts_with("queue.") || key.name.ends_with(".limit") ||
                      key.name.ends_with(".policy") || key.name.ends_with(".shadow") ||
                      key.name.ends_with(".latency_target_us") ||
                      key.name.ends_with(".queue_delay_us") ||
                      key.name == "executor.drain_timeout_ms" ||
                      (key.name.starts_with("memory.") && key.name.ends_with("_bytes")) ||
                      key.name == "overflow.attempts" || key.name == "overflow.quarantine_after";
    EXPECT_EQ(key.reload_class, live ? ReloadClass::kLive : ReloadClass::kRestart) << key.name;
  }
  EXPECT_EQ(to_string(ReloadClass::kLive), "live");
  EXPECT_EQ(to_string(ReloadClass::kNewTasks), "new tasks");
  EXPECT_EQ(to_string(ReloadClass::kRestart), "restart");
}

// ---- Printing and comparing ----

TEST(PrintConfig, PrintedConfigReadsBackEqual) {
  EXPECT_EQ(parse(print_config(Config{})), Config{});
  const Config other = parse(other_config());
  EXPECT_EQ(parse(print_config(other)), other);
  EXPECT_EQ(parse(print_config(parse(print_config(other)))), other);
}

TEST(PrintConfig, EachKeyStandsBelowAllThatIsKnownOfIt) {
  const std::string text = print_config(parse("executor.drain_timeout_ms = 5\n"));
  EXPECT_TRUE(contains(text,
                       "\n# How long the executor's destructor waits for the tasks it has taken.\n"
                       "# Allowed: 0..86400000; unit: ms; default: 30000; reload: live\n"
                       "drain_timeout_ms = 5\n"))
      << text;
  for (const ConfigKey& key : config_keys()) {
    std::string comment = "\n# " + std::string(key.help) + "\n# Allowed: ";
    comment += std::string(key.allowed);
    if (!key.unit.empty()) comment += "; unit: " + std::string(key.unit);
    comment += "; default: " + std::string(key.default_value) +
               "; reload: " + std::string(to_string(key.reload_class)) + "\n" +
               std::string(key.name.substr(key.name.rfind('.') + 1)) + " = ";
    EXPECT_TRUE(contains(text, comment)) << key.name;
  }
}

TEST(PrintConfig, LinesFitAScreen) {
  std::istringstream lines(print_config(Config{}));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

TEST(ChangedKeys, NamesExactlyTheKeyThatDiffers) {
  for (const ConfigKey& key : config_keys()) {
    const Config other = parse(std::string(key.name) + " = " + other_values().at(key.name));
    EXPECT_EQ(changed_keys(Config{}, other), std::vector<std::string_view>{key.name});
    EXPECT_EQ(changed_keys(other, Config{}), std::vector<std::string_view>{key.name});
  }
}

TEST(ChangedKeys, NamesAllThatDifferInTheOrderOfTheTable) {
  std::vector<std::string_view> expected;
  for (const ConfigKey& key : config_keys()) expected.push_back(key.name);
  EXPECT_EQ(changed_keys(Config{}, parse(other_config())), expected);
  EXPECT_TRUE(changed_keys(parse(other_config()), parse(other_config())).empty());
}

}  // namespace
}  // namespace streamgate::policies
