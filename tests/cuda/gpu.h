// SPDX-License-Identifier: Apache-2.0
//
// What the tests on a GPU share: whether there is one, executors on it, and work that takes a
// while.
#pragma once

#include <streamgate/executor.h>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/Sleep.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>

#include "../support/child_process.h"
#include "../support/event.h"

namespace streamgate::testing {

inline const at::Device kGpu(at::kCUDA, 0);

class OnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (c10::cuda::device_count() == 0) GTEST_SKIP() << "no CUDA device here";
  }
};

inline Config gpu_config(std::size_t threads = 4) {
  Config config;
  config.executor.backend = "cuda";
  config.executor.threads = threads;
  return config;
}

/// Keeps the current stream busy for tens of milliseconds: beyond what a caller of run polls.
inline void encode_a_long_wait() { at::cuda::sleep(60'000'000); }

/// A pinned number that the current stream sets to one when it comes so far.
inline void encode_a_mark(at::Tensor& mark) {
  mark.copy_(at::ones({1}, kGpu), /*non_blocking=*/true);
}
inline at::Tensor unmarked() { return at::zeros({1}, at::TensorOptions().pinned_memory(true)); }

/// What such a child does; in scenarios.cc.
[[nodiscard]] int run_scenario(const std::string& name);

[[nodiscard]] inline ChildResult run_scenario_in_child(const std::string& name) {
  return run_child({"/proc/self/exe", "--scenario", name}, kGuard);
}

}  // namespace streamgate::testing
