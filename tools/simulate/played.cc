// SPDX-License-Identifier: Apache-2.0
#include "simulate/played.h"

#include <memory>

namespace streamgate::tools {

std::vector<Played> play_policies(const executor::simulation::Scenario& scenario,
                                  std::string_view policy, std::uint64_t seed) {
  std::vector<std::string_view> names{policy};
  if (policy == "all") {
    names.assign(policies::kLimitPolicyNames.begin(), policies::kLimitPolicyNames.end());
  }
  std::vector<Played> played;
  for (const std::string_view name : names) {
    const std::unique_ptr<policies::LimitPolicy> each = policies::make_limit_policy(
        {.name = name, .initial = scenario.initial_limit, .ceiling = scenario.ceiling});
    Played run{.policy = std::string(name), .result = {}};
    run.result = executor::simulation::simulate(scenario, *each, {.seed = seed});
    run.decisions = each->decision_counts();
    played.push_back(std::move(run));
  }
  return played;
}

}  // namespace streamgate::tools
