// SPDX-License-Identifier: Apache-2.0
//
// Looking a fault model up. The texts come from a file that CMake makes of the .toml files.
#include <streamgate/policies/internal/fault_model_texts.h>
#include <streamgate/policies/shipped_fault_models.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace streamgate::policies {

const std::vector<ShippedFaultModel>& shipped_fault_models() {
  // Never destroyed: a static destructor may still use the emulator.
  static const auto& models = *new auto(internal::fault_model_texts());
  return models;
}

FaultModel find_fault_model(std::string_view name_or_path) {
  std::string names;
  for (const ShippedFaultModel& model : shipped_fault_models()) {
    if (model.name == name_or_path) {
      return parse_fault_model(model.toml, "shipped fault model " + std::string(model.name));
    }
    names += (names.empty() ? "" : ", ") + std::string(model.name);
  }
  const std::filesystem::path file(name_or_path);
  std::error_code error;
  if (!std::filesystem::exists(file, error) && !error) {
    throw FaultModelError(file.string() +
                          ": is neither a file nor a shipped fault model; shipped are: " + names);
  }
  return load_fault_model(file);
}

}  // namespace streamgate::policies
