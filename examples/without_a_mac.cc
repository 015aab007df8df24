// SPDX-License-Identifier: Apache-2.0
//
// A service's concurrency tested without a Mac: eight threads call nn.Linear on an emulated Metal
// that survives two at once, as the seeds' Mac did, and ends the process at the third. An argument
// is the ceiling to try in place of the one that is assumed while nothing is measured (one at a
// time): 2 is safe, 8 is death by SIGSEGV. A measured one is the config's limits.file.
#include <streamgate/executor.h>

#include <torch/torch.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  streamgate::policies::Config config;
  config.executor.backend = "emulator";
  config.emulator.fault_model = "seeds-nograph";
  const std::size_t ceiling = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 0;
  for (const auto op_class : {streamgate::OpClass::kKernel, streamgate::OpClass::kGraph}) {
    config.gates[streamgate::policies::index_of(op_class)].ceiling = ceiling;
  }
  streamgate::Executor executor({.config = config});

  const torch::Tensor weight = torch::randn({64, 64});
  const torch::Tensor input = torch::randn({1, 64});
  const torch::Tensor expected = torch::linear(input, weight);
  // Of the op table: on the libtorch that is emulated, a linear may be a kernel or a graph.
  const auto linear = executor.classifier().class_of("aten::linear");

  std::atomic<int> right{0};
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&] {
      for (int call = 0; call < 50; ++call) {
        const auto answer =
            executor.run({.op_class = linear}, [&] { return torch::linear(input, weight); });
        if (answer && torch::equal(*answer, expected)) ++right;
      }
    });
  }
  threads.clear();  // Joins them.
  std::cout << "class of aten::linear: " << to_string(linear) << "; right answers: " << right
            << " of 400\n";
  return right == 400 ? 0 : 1;
}
