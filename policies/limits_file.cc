// SPDX-License-Identifier: Apache-2.0
//
// Reading, checking, printing and comparing limits files. `incompatible` is printed before the
// classes: a file that was cut off then says less than was measured, never more.
#include <streamgate/policies/internal/class_keys.h>
#include <streamgate/policies/internal/toml_reading.h>
#include <streamgate/policies/internal/whole_file.h>
#include <streamgate/policies/limits_file.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

namespace streamgate::policies {
namespace {

using internal::Allowed;
using internal::ClassPair;
using internal::integer;
using internal::number;
using internal::text_up_to;
using internal::to_toml;
using internal::toml_string;
using internal::TomlNode;
using internal::TomlReading;
using internal::TomlTable;

/// Raised when a reader of the old format would misunderstand the new one.
constexpr std::int64_t kFormat = 1;

constexpr std::int64_t kMaxWidth = 1023;  // executor's Gate::kMaxCeiling: its counters end there.
constexpr std::int64_t kMaxCount = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kMaxText = 256;
// As many as fit a file that TomlReading takes, with four classes.
constexpr std::size_t kMaxThroughputs = 256;

struct ProvenanceField {
  std::string_view name;
  std::string Provenance::*field;
};
constexpr std::array<ProvenanceField, 5> kProvenanceFields = {{{"backend", &Provenance::backend},
                                                               {"libtorch", &Provenance::libtorch},
                                                               {"device", &Provenance::device},
                                                               {"driver", &Provenance::driver},
                                                               {"os", &Provenance::os}}};

Allowed not_negative() {
  return number("a finite number, at least 0", [](double value) { return value >= 0; });
}

template <typename Number>
std::optional<Number> whole(const std::optional<internal::Value>& value) {
  if (!value) return std::nullopt;
  return static_cast<Number>(std::get<std::int64_t>(*value));
}

// ---- reading ----

Provenance read_provenance(TomlReading& reading, TomlTable& root) {
  TomlTable table(reading, root.require_node("provenance", "a table"), "provenance");
  Provenance provenance;
  for (const auto& [name, field] : kProvenanceFields) {
    const auto value = table.take(name, text_up_to(kMaxText));
    if (value) provenance.*field = std::get<std::string>(*value);
  }
  table.report_unknown();
  return provenance;
}

std::vector<Throughput> read_throughput(TomlReading& reading, TomlTable& table) {
  std::vector<Throughput> all;
  const std::string name = table.name_of("throughput");
  const std::vector<TomlNode>& elements = table.take_array("throughput", "an array of tables");
  if (elements.size() > kMaxThroughputs) {
    reading.error(elements.front().line, name + " has " + std::to_string(elements.size()) +
                                             " entries; allowed: at most " +
                                             std::to_string(kMaxThroughputs));
  }
  for (const TomlNode& element : elements) {
    TomlTable entry(reading, &element, name);
    const auto threads = whole<std::size_t>(entry.require("threads", integer(1, kMaxWidth)));
    const auto per_second = entry.require("per_second", not_negative());
    entry.report_unknown();
    if (!threads || !per_second) continue;
    if (!all.empty() && all.back().threads >= *threads) {
      reading.error(element.line, name + ".threads = " + std::to_string(*threads) + " after " +
                                      std::to_string(all.back().threads) +
                                      "; allowed: rising widths, each once");
    }
    all.push_back({.threads = *threads, .per_second = std::get<double>(*per_second)});
  }
  return all;
}

/// What its keys say of each other.
void check_class(TomlReading& reading, const TomlTable& table, const ClassLimits& limits) {
  const auto error = [&](std::string_view key, const std::string& what) {
    reading.error(table.line_of(key), table.name_of(key) + " " + what);
  };
  const std::string ceiling = "the ceiling of " + std::to_string(limits.ceiling);
  // A class that fails even alone has ceiling 1, as there is no other.
  const bool fails_alone = limits.first_failure == 1U && limits.ceiling == 1;
  if (limits.first_failure && *limits.first_failure <= limits.ceiling && !fails_alone) {
    error("first_failure", "= " + std::to_string(*limits.first_failure) + " is not above " +
                               ceiling + "; allowed: above the ceiling, or 1 for both");
  }
  if (limits.first_failure.has_value() == limits.failure.empty()) {
    error(limits.failure.empty() ? "first_failure" : "failure",
          "stands alone; allowed: first_failure and failure, or neither");
  }
  if (limits.failures > limits.trials) {
    error("failures", "= " + std::to_string(limits.failures) + " is more than the trials");
  } else if (limits.failures > 0 && !fails_alone) {
    error("failures", "= " + std::to_string(limits.failures) +
                          " at the ceiling, which is safe; allowed: 0, unless first_failure = 1");
  }
  if (limits.knee && *limits.knee > limits.ceiling) {
    error("knee", "= " + std::to_string(*limits.knee) + " is above " + ceiling +
                      "; allowed: at most the ceiling");
  }
}

/// Nothing when what must be there is missing or wrong.
std::optional<ClassLimits> read_class(TomlReading& reading, const TomlNode& node) {
  TomlTable table(reading, &node, "classes");
  ClassLimits limits;
  const auto word = table.require("class", internal::class_word());
  const auto ceiling = whole<std::size_t>(table.require("ceiling", integer(1, kMaxWidth)));
  limits.first_failure = whole<std::size_t>(table.take("first_failure", integer(1, kMaxWidth + 1)));
  if (const auto failure = table.take("failure", text_up_to(kMaxText))) {
    limits.failure = std::get<std::string>(*failure);
  }
  const Allowed count = integer(0, kMaxCount);
  limits.trials = whole<std::uint64_t>(table.take("trials", count)).value_or(0);
  limits.failures = whole<std::uint64_t>(table.take("failures", count)).value_or(0);
  const Allowed probability =
      number("0 to 1", [](double value) { return value >= 0 && value <= 1; });
  if (const auto upper = table.take("failure_probability_upper", probability)) {
    limits.failure_probability_upper = std::get<double>(*upper);
  }
  limits.knee = whole<std::size_t>(table.take("knee", integer(1, kMaxWidth)));
  limits.throughput = read_throughput(reading, table);
  table.report_unknown();
  if (!word || !ceiling) return std::nullopt;
  limits.op_class = *op_class_from(std::get<std::string>(*word));
  limits.ceiling = *ceiling;
  check_class(reading, table, limits);
  return limits;
}

std::vector<ClassLimits> read_classes(TomlReading& reading, TomlTable& root) {
  constexpr std::string_view kAllowed = "tables, [[classes]], at least one";
  std::vector<ClassLimits> all;
  if (root.require_node("classes", kAllowed) == nullptr) return all;
  for (const TomlNode& node : root.take_array("classes", kAllowed)) {
    const std::optional<ClassLimits> limits = read_class(reading, node);
    if (!limits) continue;
    const bool again = std::any_of(all.begin(), all.end(), [&](const ClassLimits& other) {
      return other.op_class == limits->op_class;
    });
    if (again) {
      reading.error(node.line, "classes.class = " + toml_string(to_string(limits->op_class)) +
                                   " is there already; allowed: each class once");
    }
    all.push_back(*limits);
  }
  std::stable_sort(all.begin(), all.end(), [](const ClassLimits& a, const ClassLimits& b) {
    return a.op_class < b.op_class;
  });
  return all;
}

std::optional<OverflowGain> read_overflow(TomlReading& reading, TomlTable& root) {
  const TomlNode* const node = root.take_node("overflow", "a table");
  if (node == nullptr) return std::nullopt;
  TomlTable table(reading, node, "overflow");
  const auto workers = whole<std::size_t>(table.require("workers", integer(1, kMaxWidth)));
  const auto gain = table.require("gain", not_negative());
  table.report_unknown();
  if (!workers || !gain) return std::nullopt;
  return OverflowGain{.workers = *workers, .gain = std::get<double>(*gain)};
}

void throw_problems(const TomlReading& reading) {
  const std::string problems = reading.problems();
  if (!problems.empty()) throw LimitsError(problems);
}

Limits read_limits(TomlReading reading) {
  TomlTable root(reading, &reading.root(), "");
  const auto format = whole<std::int64_t>(root.take("format", integer(1, kMaxCount)));
  if (format && *format > kFormat) {
    // Nothing else in it can be judged.
    reading.error(root.line_of("format"),
                  "format = " + std::to_string(*format) +
                      " is newer than this streamgate, which "
                      "reads up to format " +
                      std::to_string(kFormat) +
                      "; remedy: measure again with this version's `streamgate probe`, or use the "
                      "version that wrote the file");
    throw_problems(reading);
  }
  Limits limits;
  limits.provenance = read_provenance(reading, root);
  limits.classes = read_classes(reading, root);
  for (const TomlNode& node :
       root.take_array("incompatible", "an array of pairs, [[\"graph\", \"raw\"]]")) {
    const auto pair = internal::read_pair(reading, "incompatible[]", node, limits.incompatible);
    if (pair) limits.incompatible.push_back(*pair);
  }
  limits.overflow = read_overflow(reading, root);
  root.report_unknown();
  throw_problems(reading);
  return limits;
}

// ---- printing ----

std::string print_class(const ClassLimits& limits) {
  std::string text = "\n[[classes]]\nclass = " + toml_string(to_string(limits.op_class)) +
                     "\nceiling = " + std::to_string(limits.ceiling) + "\n";
  if (limits.first_failure) {
    text += "first_failure = " + std::to_string(*limits.first_failure) + "\n";
  }
  if (!limits.failure.empty()) text += "failure = " + toml_string(limits.failure) + "\n";
  text += "trials = " + std::to_string(limits.trials) +
          "\nfailures = " + std::to_string(limits.failures) +
          "\nfailure_probability_upper = " + to_toml(limits.failure_probability_upper) + "\n";
  if (limits.knee) text += "knee = " + std::to_string(*limits.knee) + "\n";
  if (limits.throughput.empty()) return text;
  text += "throughput = [\n";
  for (const auto& [threads, per_second] : limits.throughput) {
    text += "  { threads = " + std::to_string(threads) + ", per_second = " + to_toml(per_second) +
            " },\n";
  }
  return text + "]\n";
}

}  // namespace

Limits load_limits(const std::filesystem::path& file) {
  return read_limits(TomlReading::of_file(file));
}

Limits parse_limits(std::string_view toml, std::string_view source) {
  return read_limits(TomlReading(toml, source));
}

std::string print_limits(const Limits& limits) {
  std::string text =
      "# What `streamgate probe` measured. It holds for this provenance and no other.\n"
      "format = " +
      std::to_string(kFormat) + "\n";
  if (!limits.incompatible.empty()) {
    text += "incompatible = [";
    for (const ClassPair& pair : limits.incompatible) {
      text += (text.back() == '[' ? "" : ", ") + internal::print_pair(pair);
    }
    text += "]\n";
  }
  text += "\n[provenance]\n";
  for (const auto& [name, field] : kProvenanceFields) {
    text += std::string(name) + " = " + toml_string(limits.provenance.*field) + "\n";
  }
  for (const ClassLimits& each : limits.classes) text += print_class(each);
  if (limits.overflow) {
    text += "\n[overflow]\nworkers = " + std::to_string(limits.overflow->workers) +
            "\ngain = " + to_toml(limits.overflow->gain) + "\n";
  }
  return text;
}

void save_limits(const Limits& limits, const std::filesystem::path& file) {
  const std::string text = print_limits(limits);
  // What could not be read back would only be found out by the service that starts with it.
  if (parse_limits(text, file.string()) != limits) {
    throw LimitsError(file.string() +
                      ": is not written: the classes are not in the order of kAllOpClasses");
  }
  const std::string problem = internal::write_whole(file, text);
  if (!problem.empty()) throw LimitsError(file.string() + ": " + problem);
}

std::vector<std::string> differences(const Provenance& measured, const Provenance& here) {
  const auto shown = [](const std::string& text) { return text.empty() ? "unknown" : text; };
  std::vector<std::string> all;
  for (const auto& [name, field] : kProvenanceFields) {
    if (measured.*field == here.*field) continue;
    all.push_back(std::string(name) + " " + shown(measured.*field) + " there, " +
                  shown(here.*field) + " here");
  }
  return all;
}

}  // namespace streamgate::policies
