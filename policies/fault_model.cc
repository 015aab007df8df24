// SPDX-License-Identifier: Apache-2.0
//
// Reading, checking and printing fault models.
#include <streamgate/policies/fault_model.h>
#include <streamgate/policies/internal/class_keys.h>
#include <streamgate/policies/internal/toml_reading.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

namespace streamgate::policies {
namespace {

using internal::ClassPair;
using internal::integer;
using internal::number;
using internal::to_toml;
using internal::TomlNode;
using internal::TomlReading;
using internal::TomlTable;

constexpr std::array<Fault, 4> kAllFaults = {Fault::kSegv, Fault::kAbort, Fault::kHang,
                                             Fault::kCorrupt};

constexpr std::int64_t kMaxThreads = 1023;             // As wide as a gate can be.
constexpr std::int64_t kMaxStreams = 64;               // As many as an executor takes.
constexpr std::int64_t kMaxMicroseconds = 60'000'000;  // A minute; what lasts longer is a hang.

internal::Allowed fault_word() {
  std::vector<std::string_view> all;
  for (const Fault fault : kAllFaults) all.push_back(to_string(fault));
  return internal::words(std::move(all));
}

Fault fault_from(std::string_view word) {
  return *std::find_if(kAllFaults.begin(), kAllFaults.end(),
                       [word](Fault fault) { return to_string(fault) == word; });
}

/// The integer of a key within its range; `otherwise` when it is absent or wrong.
std::int64_t take_integer(TomlTable& table, std::string_view key, std::int64_t min,
                          std::int64_t max, std::int64_t otherwise) {
  const auto value = table.take(key, integer(min, max));
  return value ? std::get<std::int64_t>(*value) : otherwise;
}

FaultRule read_rule(TomlTable& table) {
  FaultRule rule;
  if (const auto fault = table.take("fault", fault_word())) {
    rule.fault = fault_from(std::get<std::string>(*fault));
  }
  const auto probability = table.take(
      "probability", number("above 0, at most 1", [](double p) { return p > 0 && p <= 1; }));
  if (probability) rule.probability = std::get<double>(*probability);
  rule.after = static_cast<std::uint64_t>(
      take_integer(table, "after", 0, std::numeric_limits<std::int64_t>::max(), 0));
  return rule;
}

ClassFaults read_class(TomlTable& table) {
  ClassFaults faults;
  if (const auto width = table.take("safe_threads", integer(1, kMaxThreads))) {
    faults.safe_threads = static_cast<std::size_t>(std::get<std::int64_t>(*width));
  }
  faults.rule = read_rule(table);
  table.report_unknown();
  return faults;
}

FaultModel::Device read_device(TomlTable& table) {
  FaultModel::Device device;
  device.streams = static_cast<std::size_t>(
      take_integer(table, "streams", 1, kMaxStreams, static_cast<std::int64_t>(device.streams)));
  device.encode = std::chrono::microseconds(
      take_integer(table, "encode_us", 0, kMaxMicroseconds, device.encode.count()));
  device.execute = std::chrono::microseconds(
      take_integer(table, "execute_us", 0, kMaxMicroseconds, device.execute.count()));
  device.parallel = static_cast<std::size_t>(
      take_integer(table, "parallel", 1, kMaxThreads, static_cast<std::int64_t>(device.parallel)));
  table.report_unknown();
  return device;
}

FaultModel read_model(TomlReading reading) {
  FaultModel model;
  TomlTable root(reading, &reading.root(), "");

  TomlTable classes(reading, root.take_node("class", "a table of classes"), "class");
  for (const OpClass op_class : kAllOpClasses) {
    const std::string word(to_string(op_class));
    TomlTable table(reading, classes.take_node(word, "a table"), classes.name_of(word));
    model.classes[index_of(op_class)] = read_class(table);
  }
  classes.report_unknown();

  std::vector<ClassPair> pairs;
  for (const TomlNode& node : root.take_array("incompatible", "tables, [[incompatible]]")) {
    TomlTable table(reading, &node, "incompatible");
    const TomlNode* const names = table.require_node("classes", internal::kPairAllowed);
    const FaultRule rule = read_rule(table);
    table.report_unknown();
    if (names == nullptr) continue;
    if (const auto pair = internal::read_pair(reading, table.name_of("classes"), *names, pairs)) {
      pairs.push_back(*pair);
      model.incompatible.push_back({.a = pair->first, .b = pair->second, .rule = rule});
    }
  }

  TomlTable device(reading, root.take_node("device", "a table"), "device");
  model.device = read_device(device);
  root.report_unknown();

  const std::string problems = reading.problems();
  if (!problems.empty()) throw FaultModelError(problems);
  return model;
}

std::string print_rule(const FaultRule& rule) {
  return "fault = " + to_toml(std::string(to_string(rule.fault))) +
         "\nprobability = " + to_toml(rule.probability) +
         "\nafter = " + std::to_string(rule.after) + "\n";
}

}  // namespace

std::string_view to_string(Fault fault) noexcept {
  switch (fault) {
    case Fault::kSegv:
      return "segv";
    case Fault::kAbort:
      return "abort";
    case Fault::kHang:
      return "hang";
    case Fault::kCorrupt:
      break;
  }
  return "corrupt";
}

FaultModel load_fault_model(const std::filesystem::path& file) {
  return read_model(TomlReading::of_file(file));
}

FaultModel parse_fault_model(std::string_view toml, std::string_view source) {
  return read_model(TomlReading(toml, source));
}

std::string print_fault_model(const FaultModel& model) {
  std::string text;
  for (const OpClass op_class : kAllOpClasses) {
    const ClassFaults& faults = model.classes[index_of(op_class)];
    if (faults == ClassFaults{}) continue;
    text += "[class." + std::string(to_string(op_class)) + "]\n";
    if (faults.safe_threads) {
      text += "safe_threads = " + std::to_string(*faults.safe_threads) + "\n";
    }
    text += print_rule(faults.rule) + "\n";
  }
  for (const IncompatibleFault& fault : model.incompatible) {
    text += "[[incompatible]]\nclasses = " + internal::print_pair({fault.a, fault.b}) + "\n" +
            print_rule(fault.rule) + "\n";
  }
  const FaultModel::Device& device = model.device;
  return text + "[device]\nstreams = " + std::to_string(device.streams) +
         "\nencode_us = " + std::to_string(device.encode.count()) +
         "\nexecute_us = " + std::to_string(device.execute.count()) +
         "\nparallel = " + std::to_string(device.parallel) + "\n";
}

}  // namespace streamgate::policies
