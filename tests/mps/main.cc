// SPDX-License-Identifier: Apache-2.0
//
// The tests, or, in a child of theirs, one scenario.
#include <gtest/gtest.h>

#include <string_view>

#include "child.h"

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--scenario") {
    return streamgate::testing::run_scenario(argv[2]);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
