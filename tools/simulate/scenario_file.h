// SPDX-License-Identifier: Apache-2.0
//
// Scenario files (JSON), as docs/simulate.md describes them. What the values may be is for
// executor/simulation's check to say; here, which keys there are, and of which type.
#pragma once

#include <streamgate/executor/simulation/scenario.h>

#include <filesystem>
#include <string_view>

namespace streamgate::tools {

/// The scenario in that text, checked. Throws std::invalid_argument that names the key and what is
/// allowed: for text that is no JSON, a key that is unknown or has no meaning beside the others, a
/// missing one, a wrong type, a value out of range, and values that contradict each other.
[[nodiscard]] executor::simulation::Scenario parse_scenario(std::string_view text);

/// As parse_scenario, with the file's name before what is wrong; throws the same when the file
/// cannot be read.
[[nodiscard]] executor::simulation::Scenario load_scenario(const std::filesystem::path& file);

}  // namespace streamgate::tools
