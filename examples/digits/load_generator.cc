// SPDX-License-Identifier: Apache-2.0
#include "load_generator.h"

#include "process_threads.h"

#include <algorithm>
#include <barrier>
#include <exception>
#include <semaphore>
#include <thread>

namespace digits {
namespace {

using Clock = std::chrono::steady_clock;

/// The answer of a digit that nobody has asked for yet.
constexpr std::int64_t kUnasked = -2;

void merge(std::int64_t& known, std::int64_t seen) {
  if (known == kUnasked) {
    known = seen;
  } else if (known != seen && seen != kUnasked) {
    known = kDisagreement;
  }
}

/// One client, and what it has seen. Confined to its thread until that has been joined.
class Client {
 public:
  Client(const Way& way, const LoadOptions& options, std::size_t index)
      : way_(way),
        options_(options),
        requests_in_pass_((options.digits + options.batch - 1) / options.batch),
        first_request_(index * requests_in_pass_ / options.clients),
        share_((index + 1) * requests_in_pass_ / options.clients - first_request_),
        answers_(options.digits, kUnasked),
        buffer_(options.batch) {
    // So that the vector does not grow between two requests, mostly.
    latencies_.reserve(std::size_t{1} << 14U);
  }

  /// `start` is called between warm-up and measurement. It returns when all clients have called it,
  /// with the time when they had.
  template <typename Start>
  void run(Start start) noexcept {
    try {
      way_.prepare_thread();
      // A thread's first request pays for what libraries keep by thread, such as OpenMP's pool.
      (void)ask(first_request_);
    } catch (...) {
      error_ = std::current_exception();
    }
    const Clock::time_point begin = start();
    if (error_) return;
    try {
      serve(begin);
    } catch (...) {
      error_ = std::current_exception();
    }
  }

  void add_to(Measurement& measurement, Clock::time_point begin) const {
    if (error_) std::rethrow_exception(error_);
    measurement.duration = std::max<std::chrono::nanoseconds>(measurement.duration, end_ - begin);
    measurement.images += images_;
    measurement.latencies.insert(measurement.latencies.end(), latencies_.begin(), latencies_.end());
    for (std::size_t i = 0; i < answers_.size(); ++i) merge(measurement.answers[i], answers_[i]);
  }

 private:
  void serve(Clock::time_point begin) {
    Clock::time_point sent = begin;
    std::size_t request = first_request_;
    for (std::size_t served = 0; served < share_ || sent - begin < options_.duration; ++served) {
      images_ += ask(request);
      const Clock::time_point answered = Clock::now();
      latencies_.push_back(answered - sent);
      sent = answered;
      request = (request + 1) % requests_in_pass_;
    }
    end_ = sent;
  }

  /// Asks, keeps the answers, and returns how many there were.
  std::size_t ask(std::size_t request) {
    const std::size_t first = request * options_.batch;
    const std::size_t count = std::min(options_.batch, options_.digits - first);
    way_.answer(first, std::span(buffer_.data(), count));
    for (std::size_t i = 0; i < count; ++i) merge(answers_[first + i], buffer_[i]);
    return count;
  }

  const Way& way_;
  const LoadOptions& options_;
  std::size_t requests_in_pass_;
  std::size_t first_request_;
  std::size_t share_;  ///< The requests after which this client may stop.
  std::size_t images_ = 0;
  std::vector<std::int64_t> answers_;
  std::vector<std::int64_t> buffer_;
  std::vector<std::chrono::nanoseconds> latencies_;
  Clock::time_point end_{};
  std::exception_ptr error_;
};

}  // namespace

Measurement measure(const Way& way, const LoadOptions& options) {
  std::vector<Client> clients;
  clients.reserve(options.clients);
  for (std::size_t i = 0; i < options.clients; ++i) clients.emplace_back(way, options, i);

  Measurement measurement;
  measurement.answers.assign(options.digits, kUnasked);
  Clock::time_point begin{};
  std::barrier start(static_cast<std::ptrdiff_t>(options.clients),
                     [&begin]() noexcept { begin = Clock::now(); });
  const auto wait_for_start = [&] {
    start.arrive_and_wait();
    return begin;
  };
  std::counting_semaphore<> ended(0);
  {
    std::vector<std::jthread> threads;
    threads.reserve(options.clients);
    for (Client& client : clients) {
      threads.emplace_back([&] {
        client.run(wait_for_start);
        ended.release();
      });
    }
    // Meanwhile this thread counts the process's threads.
    for (std::size_t running = options.clients; running > 0;) {
      measurement.peak_threads = std::max(measurement.peak_threads, process_threads());
      if (ended.try_acquire_for(std::chrono::milliseconds(10))) --running;
    }
  }
  for (const Client& client : clients) client.add_to(measurement, begin);
  return measurement;
}

}  // namespace digits
