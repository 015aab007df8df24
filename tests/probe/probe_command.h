// SPDX-License-Identifier: Apache-2.0
//
// Runs `streamgate probe` of this build on fault models, and tells what came out.
#pragma once

#include <streamgate/policies/fault_model.h>

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "../support/child_process.h"
#include "../tools/temporary_folder.h"

namespace streamgate::testing {

using Json = nlohmann::json;
using tools::TemporaryFolder;

inline constexpr std::chrono::seconds kProbeGuard{150};

inline ChildResult probe(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {STREAMGATE_COMMAND, "probe"});
  return run_child(std::move(arguments), kProbeGuard);
}

/// On an emulator, with --json.
struct Probed {
  ChildResult run;
  Json report;

  [[nodiscard]] const Json& of(const std::string& op_class) const {
    for (const Json& measured : report.at("classes")) {
      if (measured.at("class") == op_class) return measured;
    }
    throw std::runtime_error("no class " + op_class + " in " + report.dump());
  }
};

inline Probed probed(const std::string& fault_model, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.begin(),
                   {"--backend", "emulator", "--fault-model", fault_model, "--json"});
  Probed probed{.run = probe(std::move(arguments)), .report = {}};
  probed.report = Json::parse(probed.run.out, nullptr, false);
  EXPECT_TRUE(probed.report.is_object()) << probed.run.out << probed.run.err;
  return probed;
}

/// What JSON and people call a fault.
inline std::string name_of(policies::Fault fault) {
  switch (fault) {
    case policies::Fault::kSegv:
      return "SIGSEGV";
    case policies::Fault::kAbort:
      return "SIGABRT";
    case policies::Fault::kHang:
      return "hang";
    case policies::Fault::kCorrupt:
      break;
  }
  return "corrupt";
}

/// Expects that the probe found what the model says, no more and no less.
inline void expect_recovered(const Probed& probed, const policies::FaultModel& model,
                             std::size_t max_threads) {
  EXPECT_EQ(probed.run.exit_code, 0) << probed.run.err;
  for (const policies::OpClass op_class :
       {policies::OpClass::kRaw, policies::OpClass::kKernel, policies::OpClass::kGraph}) {
    const policies::ClassFaults& faults = model.classes[policies::index_of(op_class)];
    const Json& measured = probed.of(std::string(to_string(op_class)));
    const std::size_t safe = faults.safe_threads.value_or(max_threads);
    EXPECT_EQ(measured.at("ceiling"), std::min(safe, max_threads)) << measured.dump(2);
    EXPECT_EQ(measured.at("failures"), 0) << measured.dump(2);
    if (safe >= max_threads) {
      EXPECT_TRUE(measured.at("first_failure").is_null()) << measured.dump(2);
      EXPECT_TRUE(measured.at("failure").is_null()) << measured.dump(2);
    } else {
      EXPECT_EQ(measured.at("first_failure"), safe + 1) << measured.dump(2);
      EXPECT_EQ(measured.at("failure"), name_of(faults.rule.fault)) << measured.dump(2);
    }
  }
  std::set<std::set<std::string>> expected;
  for (const policies::IncompatibleFault& pair : model.incompatible) {
    expected.insert({std::string(to_string(pair.a)), std::string(to_string(pair.b))});
  }
  std::set<std::set<std::string>> found;
  for (const Json& pair : probed.report.at("incompatible")) {
    found.insert(pair.get<std::set<std::string>>());
  }
  EXPECT_EQ(found, expected);
}

}  // namespace streamgate::testing
