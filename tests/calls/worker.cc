// SPDX-License-Identifier: Apache-2.0
//
// The worker processes of these tests: the library's own, with the tests' operators linked in.
#include <streamgate/executor.h>

#include "test_operators.h"

int main(int argc, char** argv) {
  streamgate::testing::this_is_a_worker();
  constexpr int kNobodysWorker = 64;
  return streamgate::serve_as_worker(argc, argv).value_or(kNobodysWorker);
}
