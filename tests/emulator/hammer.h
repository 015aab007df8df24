// SPDX-License-Identifier: Apache-2.0
//
// Threads that encode on the emulated Metal as fast as it lets them, each on a stream of its own,
// with no gate in between, and check what they get.
#pragma once

#include <streamgate/executor/backends/emulator/metal.h>
#include <streamgate/policies/op_class.h>

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace streamgate::testing {

struct Hammer {
  policies::OpClassSet classes;
  std::size_t threads;
};

/// Each thread encodes, commits and waits so many times. Returns how many results were wrong.
inline std::uint64_t hammer(executor::metal::Device& device, const std::vector<Hammer>& hammers,
                            std::size_t iterations) {
  std::size_t all = 0;
  for (const Hammer& one : hammers) all += one.threads;
  std::barrier together(static_cast<std::ptrdiff_t>(all));
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::jthread> threads;
  for (const Hammer& one : hammers) {
    for (std::size_t t = 0; t < one.threads; ++t) {
      threads.emplace_back([&, classes = one.classes, index = threads.size()] {
        executor::metal::Stream& stream = device.stream(index);
        std::vector<float> result(64);
        together.arrive_and_wait();
        for (std::size_t i = 0; i < iterations; ++i) {
          const auto expected = static_cast<float>(index * iterations + i);
          stream.run_sync([&] {
            stream.encoder().encode({.classes = classes,
                                     .label = "hammer",
                                     .kernel = [&] { result.assign(result.size(), expected); },
                                     .output = std::as_writable_bytes(std::span(result))});
          });
          if (!stream.synchronize(executor::metal::Clock::time_point::max())) ++wrong;
          for (const float value : result) {
            if (value == expected) continue;
            ++wrong;
            break;
          }
        }
      });
    }
  }
  threads.clear();  // Joins them.
  return wrong;
}

}  // namespace streamgate::testing
