// SPDX-License-Identifier: Apache-2.0
//
// Promise 6, second half: the library makes no device call after main returns, neither for an
// executor that nobody ended nor from static destructors. A program of its own, as it is about the
// end of a program: exit code 0, or a line that says what was called.
#include <streamgate/executor.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "../support/executors.h"
#include "../support/test_device.h"

namespace {

using streamgate::Executor;
using streamgate::testing::TestBackend;
using streamgate::testing::TestDevice;

/// Leaves main's last word on the device, and judges at the end of the program.
struct Judge {
  ~Judge() {
    if (calls_at_end == kStillInMain || device->calls() == calls_at_end) return;
    std::fprintf(stderr, "%zu calls of the device after main had returned\n",
                 device->calls() - calls_at_end);
    std::_Exit(1);
  }
  static constexpr std::size_t kStillInMain = ~std::size_t{0};
  std::shared_ptr<TestDevice> device = std::make_shared<TestDevice>();
  std::size_t calls_at_end = kStillInMain;
};

Judge judge;  // Made before the static executor, hence destroyed after it.

void use(Executor& executor) {
  std::vector<streamgate::Future<void>> futures;
  for (int i = 0; i < 100; ++i) futures.push_back(executor.submit([] {}));
  for (auto& future : futures) {
    if (!future.get()) std::_Exit(2);
  }
  if (!executor.run([] {})) std::_Exit(3);
}

streamgate::ExecutorOptions options() {
  return {.config = streamgate::testing::inline_config(2),
          .backend = std::make_unique<TestBackend>(judge.device)};
}

}  // namespace

int main() {
  static Executor in_static_storage(options());
  use(in_static_storage);
  static auto* const leaked = new Executor(options());
  use(*leaked);
  // The workers leave an idle arena after a moment, which is a call, and in main's time.
  (void)in_static_storage.drain(streamgate::Drain::kFinish, streamgate::testing::kGuard);
  (void)leaked->drain(streamgate::Drain::kFinish, streamgate::testing::kGuard);
  if (!streamgate::testing::eventually(
          [] { return judge.device->bound == judge.device->unbound; })) {
    std::_Exit(4);
  }
  judge.calls_at_end = judge.device->calls();
  return 0;
}
