// SPDX-License-Identifier: Apache-2.0
//
// The fault models that come with the library, by name: devices that were met or read of. Their
// texts are in the library itself, so that no path is needed at run time; the same files are
// installed to be read and copied. How one is read is fault_model.h's business.
#pragma once

#include <streamgate/policies/fault_model.h>

#include <string_view>
#include <vector>

namespace streamgate::policies {

struct ShippedFaultModel {
  std::string_view name;  ///< "seeds-nograph": its file's name without .toml.
  std::string_view toml;  ///< The whole file; its comment says where the model comes from.
};

/// All of them, by name in alphabetical order. They live as long as the program.
[[nodiscard]] const std::vector<ShippedFaultModel>& shipped_fault_models();

/// The shipped model of that name; else the file at that path. A file in the current folder that is
/// named as a shipped model is reached as "./name". Throws FaultModelError; for what is neither, it
/// names the shipped ones. Blocks while it reads the file.
[[nodiscard]] FaultModel find_fault_model(std::string_view name_or_path);

}  // namespace streamgate::policies
