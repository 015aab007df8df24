// SPDX-License-Identifier: Apache-2.0
//
// libtorch work from several threads, through one executor, with metrics.
#include <streamgate/executor.h>
#include <streamgate/metrics.h>

#include <torch/torch.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

int main() {
  using namespace std::chrono_literals;
  streamgate::Executor executor;
  streamgate::MetricsEndpoint metrics;
  metrics.add("quickstart", executor);
  std::cout << "metrics: " << metrics.url() << '\n';

  const torch::Tensor weight = torch::ones({64, 64});
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      // run: here and now, on this thread, as soon as there is a permit.
      const torch::Tensor row = *executor.run([&] {
        return torch::full({1, 64}, 0.5 * i).mm(weight);
      });

      // submit: on a worker, while this thread may do something else.
      auto future = executor.submit({.op_class = streamgate::OpClass::kRaw,
                                     .priority = streamgate::Priority::kHigh,
                                     .deadline = streamgate::Clock::now() + 1s},
                                    [row] { return row.sum().item<int>(); });
      const auto sum = future.get();

      // Rejected, expired, cancelled: these are values, not exceptions.
      const auto answer = sum ? std::to_string(*sum) : std::string(to_string(sum.outcome()));
      std::cout << "thread " + std::to_string(i) + ": " + answer + '\n';
    });
  }
  threads.clear();  // Joins them.
  return executor.drain(streamgate::Drain::kFinish, 5s).drained ? 0 : 1;
}
