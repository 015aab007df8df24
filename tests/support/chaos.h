// SPDX-License-Identifier: Apache-2.0
//
// How long a chaos test runs and with which seed: both are printed, and the environment may say
// them, so that a run can be had again: STREAMGATE_CHAOS_SECONDS, STREAMGATE_CHAOS_SEED.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

namespace streamgate::testing {

struct ChaosPlan {
  std::uint64_t seed = 0;
  std::chrono::seconds time{0};
};

inline ChaosPlan plan_chaos(std::chrono::seconds time) {
  const auto from_environment = [](const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::stoull(text);
  };
  const ChaosPlan plan{.seed = from_environment("STREAMGATE_CHAOS_SEED", std::random_device{}()),
                       .time = std::chrono::seconds(from_environment(
                           "STREAMGATE_CHAOS_SECONDS", static_cast<std::uint64_t>(time.count())))};
  std::printf("chaos: STREAMGATE_CHAOS_SEED=%llu, %lld s\n",
              static_cast<unsigned long long>(plan.seed),
              static_cast<long long>(plan.time.count()));
  return plan;
}

}  // namespace streamgate::testing
