// SPDX-License-Identifier: Apache-2.0
#include "doctor/operation.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <exception>

namespace streamgate::tools {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr int kRounds = 5;
constexpr std::chrono::milliseconds kRound{20};

}  // namespace

OperationFacts run_operation() {
  OperationFacts facts;
  try {
    const at::NoGradGuard no_grad;
    at::set_num_threads(1);
    const at::Tensor input = torch::ones({32, 256});
    const at::Tensor weight = torch::ones({256, 256});
    const at::Tensor bias = torch::ones({256});
    const at::Tensor result = at::linear(input, weight, bias);
    if (!at::equal(result, torch::full({32, 256}, 257.0))) {
      facts.error = "the result is wrong: a linear of ones has the element " +
                    std::to_string(result[0][0].item<float>()) + ", not 257, or others differ";
      return facts;
    }
    // The fastest round: the others say how busy the machine is.
    for (int round = 0; round < kRounds; ++round) {
      const Clock::time_point start = Clock::now();
      Clock::time_point now = start;
      long calls = 0;
      do {
        static_cast<void>(at::linear(input, weight, bias));
        ++calls;
        now = Clock::now();
      } while (now - start < kRound);
      facts.per_second =
          std::max(facts.per_second, static_cast<double>(calls) / Seconds(now - start).count());
    }
  } catch (const std::exception& error) {
    facts.error = error.what();
  }
  return facts;
}

}  // namespace streamgate::tools
