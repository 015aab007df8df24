// SPDX-License-Identifier: Apache-2.0
//
// One policy's run of a scenario, as the renderers take it.
#pragma once

#include <streamgate/executor/simulation/scenario.h>
#include <streamgate/executor/simulation/simulation.h>
#include <streamgate/policies/limit_policy.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::tools {

struct Played {
  std::string policy;
  executor::simulation::Result result;
  std::array<std::uint64_t, policies::kLimitReasons> decisions{};  ///< By LimitReason.
};

/// Plays the scenario with that policy, or, for the name "all", with each one in turn, all with the
/// same seed. Throws std::invalid_argument for an unknown name.
[[nodiscard]] std::vector<Played> play_policies(const executor::simulation::Scenario& scenario,
                                                std::string_view policy, std::uint64_t seed);

}  // namespace streamgate::tools
