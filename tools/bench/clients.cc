// SPDX-License-Identifier: Apache-2.0
#include "bench/clients.h"

#include <barrier>
#include <cstdint>
#include <exception>
#include <thread>

namespace streamgate::tools {
namespace {

using Clock = std::chrono::steady_clock;

/// What one client has seen. Confined to its thread until that has been joined.
struct Client {
  std::vector<std::uint64_t> answered;  ///< By slice.
  std::exception_ptr error{};
};

}  // namespace

std::vector<double> requests_per_second(const Way& way, std::size_t clients,
                                        std::chrono::nanoseconds slice, std::size_t slices) {
  std::vector<Client> all(clients, Client{std::vector<std::uint64_t>(slices)});
  Clock::time_point begin{};
  std::barrier start(static_cast<std::ptrdiff_t>(clients),
                     [&begin]() noexcept { begin = Clock::now(); });
  {
    std::vector<std::jthread> threads;
    threads.reserve(clients);
    for (Client& client : all) {
      threads.emplace_back([&] {
        try {
          way.prepare_thread();
          way.serve();
        } catch (...) {
          client.error = std::current_exception();
        }
        start.arrive_and_wait();
        if (client.error) return;
        try {
          for (;;) {
            way.serve();
            // Only what was answered within the time counts, lest slow requests stretch it.
            const auto in = static_cast<std::size_t>((Clock::now() - begin) / slice);
            if (in >= slices) break;
            ++client.answered[in];
          }
        } catch (...) {
          client.error = std::current_exception();
        }
      });
    }
  }
  std::vector<double> per_second(slices);
  const double seconds = std::chrono::duration<double>(slice).count();
  for (const Client& client : all) {
    if (client.error) std::rethrow_exception(client.error);
    for (std::size_t i = 0; i < slices; ++i) {
      per_second[i] += static_cast<double>(client.answered[i]) / seconds;
    }
  }
  return per_second;
}

}  // namespace streamgate::tools
