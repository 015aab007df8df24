// SPDX-License-Identifier: Apache-2.0
#include "mps_support.h"

#include <atomic>
#include <thread>
#include <vector>

namespace streamgate::testing {

std::size_t wrong_results_of_mixed_tasks(Executor& executor, std::size_t tasks, Encode how) {
  constexpr std::size_t kThreads = 16;
  std::vector<std::uint64_t> results(tasks);
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> wrong{0};
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (std::size_t task = next++; task < tasks; task = next++) {
        const OpClass op_class = policies::kAllOpClasses[task % 3];
        const auto outcome = executor.run({.op_class = op_class}, [&] {
          executor::metal::Work work{.classes = op_class, .label = "mixed", .kernel = [&, task] {
                                       results[task] = expected_result(task);
                                     }};
          if (how == Encode::kInTheQueue) {
            stand_in::encode(std::move(work));
          } else {
            stand_in::encode_past_the_queue(std::move(work));
          }
        });
        // run returns when the device is done, so the result must be there.
        if (!outcome || results[task] != expected_result(task)) ++wrong;
      }
    });
  }
  threads.clear();
  return wrong;
}

}  // namespace streamgate::testing
