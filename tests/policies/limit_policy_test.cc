// SPDX-License-Identifier: Apache-2.0
//
// The promises of the limit policies by name, and of `fixed`.
#include <streamgate/policies/limit_policy.h>

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace streamgate::policies {
namespace {

/// What make_limit_policy throws for these options; empty when it does not.
std::string error_of(const LimitPolicyOptions& options) {
  try {
    (void)make_limit_policy(options);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(LimitPolicy, EveryKnownNameMakesAPolicyThatStartsWhereItWasPut) {
  for (const std::string_view name : kLimitPolicyNames) {
    const auto policy = make_limit_policy({.name = name, .initial = 3, .ceiling = 8});
    ASSERT_NE(policy, nullptr) << name;
    EXPECT_EQ(policy->initial_limit(), 3U) << name;
  }
}

TEST(LimitPolicy, UnknownNameIsNamedBesideEveryKnownOne) {
  const std::string error = error_of({.name = "fixt"});
  EXPECT_NE(error.find("'fixt'"), std::string::npos) << error;
  for (const std::string_view name : kLimitPolicyNames) {
    EXPECT_NE(error.find(name), std::string::npos) << error;
  }
}

TEST(LimitPolicy, InitialLimitOfZeroOrAboveTheCeilingIsRefusedWithItsRange) {
  for (const std::size_t initial : {0U, 9U}) {
    const std::string error = error_of({.name = "fixed", .initial = initial, .ceiling = 8});
    EXPECT_NE(error.find(std::to_string(initial) + " is outside 1..8"), std::string::npos) << error;
  }
  EXPECT_EQ(error_of({.name = "fixed", .initial = 8, .ceiling = 8}), "");
}

TEST(FixedLimit, NeverMovesWhateverItSees) {
  const auto policy = make_limit_policy({.name = "fixed", .initial = 2, .ceiling = 64});
  EXPECT_FALSE(policy->wants_observations());
  for (int i = 0; i < 1'000; ++i) {
    const Observation observation{.now = std::chrono::milliseconds(i),
                                  .wait = std::chrono::milliseconds(i % 7),
                                  .service = std::chrono::microseconds(i % 11),
                                  .in_flight = 2,
                                  .limit = 2,
                                  .good = i % 3 != 0};
    ASSERT_EQ(policy->observe(observation), std::nullopt);
  }
  EXPECT_EQ(policy->initial_limit(), 2U);
}

}  // namespace
}  // namespace streamgate::policies
