// SPDX-License-Identifier: Apache-2.0
#include "load_generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace digits {
namespace {

using namespace std::chrono_literals;

/// Answers each digit with its own number.
void echo(std::size_t first, std::span<std::int64_t> answers) {
  for (std::size_t i = 0; i < answers.size(); ++i)
    answers[i] = static_cast<std::int64_t>(first + i);
}

Way way_of(std::function<void(std::size_t, std::span<std::int64_t>)> answer) {
  return {.name = "test", .prepare_thread = [] {}, .answer = std::move(answer)};
}

TEST(LoadGenerator, EveryDigitIsAskedForEvenWhenTheTimeIsTooShort) {
  // 1 ns, and neither batches nor clients divide the digits.
  const Measurement measurement =
      measure(way_of(echo), {.clients = 3, .batch = 7, .digits = 100, .duration = 1ns});
  std::vector<std::int64_t> expected(100);
  echo(0, expected);
  EXPECT_EQ(measurement.answers, expected);
}

TEST(LoadGenerator, ImagesAndRequestsAreCountedWithoutTheWarmUp) {
  // One pass: 15 requests, the last with two digits.
  const Measurement measurement =
      measure(way_of(echo), {.clients = 1, .batch = 7, .digits = 100, .duration = 1ns});
  EXPECT_EQ(measurement.latencies.size(), 15U);
  EXPECT_EQ(measurement.images, 100U);
  EXPECT_GT(measurement.duration, 0ns);
}

TEST(LoadGenerator, MoreClientsThanRequestsIsAllRight) {
  const Measurement measurement =
      measure(way_of(echo), {.clients = 5, .batch = 10, .digits = 12, .duration = 1ms});
  EXPECT_EQ(std::ranges::count(measurement.answers, kDisagreement), 0);
}

TEST(LoadGenerator, AnswersThatDisagreeAreSeenWithinAClientAndBetweenClients) {
  for (const std::size_t clients : {1U, 2U}) {
    std::atomic<std::int64_t> request{0};
    const auto moody = [&](std::size_t, std::span<std::int64_t> answers) {
      std::ranges::fill(answers, request.fetch_add(1));
    };
    const Measurement measurement =
        measure(way_of(moody), {.clients = clients, .batch = 4, .digits = 4, .duration = 5ms});
    EXPECT_EQ(measurement.answers, std::vector<std::int64_t>(4, kDisagreement)) << clients;
  }
}

TEST(LoadGenerator, EachClientHasANewThreadPreparedOnce) {
  std::mutex mutex;
  std::multiset<std::thread::id> prepared;
  std::set<std::thread::id> answering;
  const Way way{.name = "test",
                .prepare_thread =
                    [&] {
                      const std::lock_guard lock(mutex);
                      prepared.insert(std::this_thread::get_id());
                    },
                .answer =
                    [&](std::size_t first, std::span<std::int64_t> answers) {
                      const std::lock_guard lock(mutex);
                      answering.insert(std::this_thread::get_id());
                      echo(first, answers);
                    }};
  (void)measure(way, {.clients = 4, .batch = 1, .digits = 40, .duration = 1ms});
  EXPECT_EQ(prepared.size(), 4U);
  EXPECT_EQ(answering, std::set<std::thread::id>(prepared.begin(), prepared.end()));
  EXPECT_FALSE(answering.contains(std::this_thread::get_id()));
}

TEST(LoadGenerator, AClientsExceptionIsRethrownWhereverItComesFrom) {
  const LoadOptions load{.clients = 3, .batch = 1, .digits = 30, .duration = 1ms};
  Way way = way_of([](std::size_t first, std::span<std::int64_t> answers) {
    if (first == 25) throw std::runtime_error("answer");
    echo(first, answers);
  });
  EXPECT_THROW((void)measure(way, load), std::runtime_error);
  way.prepare_thread = [] { throw std::logic_error("prepare"); };
  EXPECT_THROW((void)measure(way, load), std::logic_error);
}

}  // namespace
}  // namespace digits
