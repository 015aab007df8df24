// SPDX-License-Identifier: Apache-2.0
//
// What must happen in a process of its own, as it loses CUDA or ends. And the program's main.
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "gpu.h"

namespace streamgate::testing {
namespace {

/// An index out of range is found by the device, long after the operation was encoded; CUDA is lost
/// to the process with it.
void encode_what_kills() {
  const at::Tensor values = at::ones({4}, kGpu);
  const at::Tensor indices = at::full({64}, 1'000'000, at::TensorOptions(kGpu).dtype(at::kLong));
  static_cast<void>(at::index_select(values, 0, indices));
}

/// Says what became of a running, a waiting and a later task, by both doors.
int lose_the_device() {
  Executor executor({.config = gpu_config(2)});
  const auto wait = [] { encode_a_long_wait(); };
  auto running = executor.submit([] {
    encode_a_long_wait();
    encode_what_kills();
  });
  auto beside = executor.submit(wait);
  auto beside_too = executor.submit(wait);
  for (auto* future : {&running, &beside, &beside_too}) {
    if (!future->wait_for(kGuard)) return std::puts("a task did not end"), 10;
  }
  const auto fails = [](auto&& call) {
    try {
      static_cast<void>(call());
      return false;
    } catch (const std::exception& error) {
      std::puts(error.what());
      return true;
    }
  };
  if (!fails([&] { return running.get(); })) return std::puts("it did not fail"), 11;
  if (!fails([&] { return executor.submit([] { return 1; }).get(); })) {
    return std::puts("a later task did not fail"), 12;
  }
  if (!fails([&] { return executor.run([] { return 1; }); })) {
    return std::puts("run did not fail"), 13;
  }
  return executor.drain(executor::Drain::kFinish, kGuard).drained ? 0 : 14;
}

/// The executor ends after main, by its static storage duration.
int end_after_main() {
  static Executor executor({.config = gpu_config(2)});
  return executor.run([] { return at::ones({2}, kGpu).sum().item<float>(); }).value() == 2.0F ? 0
                                                                                              : 1;
}

int no_such_device() {
  Config config = gpu_config();
  config.cuda.device = 63;
  try {
    const Executor executor({.config = config});
  } catch (const std::runtime_error& error) {
    std::puts(error.what());
    return 0;
  }
  return 1;
}

int no_device_at_all() {
  // Before CUDA has looked.
  static_cast<void>(setenv("CUDA_VISIBLE_DEVICES", "", 1));
  return no_such_device();
}

}  // namespace

int run_scenario(const std::string& name) {
  if (name == "lose the device") return lose_the_device();
  if (name == "end after main") return end_after_main();
  if (name == "no such device") return no_such_device();
  if (name == "no device at all") return no_device_at_all();
  return 99;
}

}  // namespace streamgate::testing

int main(int argc, char** argv) {
  // The workers of these tests are this program.
  if (const auto code = streamgate::serve_as_worker(argc, argv)) return *code;
  if (argc == 3 && std::string_view(argv[1]) == "--scenario") {
    return streamgate::testing::run_scenario(argv[2]);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
