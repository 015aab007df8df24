// SPDX-License-Identifier: Apache-2.0
//
// The executor as it is benchmarked, with and without a Prometheus of our own at its door.
#include "contenders.h"

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stop_token>
#include <string>

#include "support/http_get.h"

namespace streamgate::bench {
namespace {

ExecutorOptions options(std::size_t threads) {
  ExecutorOptions options;
  options.config.executor.backend = "inline";
  options.config.executor.threads = threads;
  return options;
}

void scrape_until_stopped(const std::stop_token& stop, const std::string& url) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    if (testing::http_get(url).body.empty()) {
      std::fputs("bench: a scrape came back empty\n", stderr);
      std::abort();
    }
    stopped.wait_for(lock, stop, std::chrono::milliseconds(100), [] { return false; });
  }
}

}  // namespace

Streamgate::Streamgate(std::size_t threads) : executor_(options(threads)) {}

ScrapedStreamgate::ScrapedStreamgate(std::size_t threads) : Streamgate(threads) {
  endpoint_.add("bench", executor());
  scraper_ = std::jthread(
      [url = endpoint_.url()](const std::stop_token& stop) { scrape_until_stopped(stop, url); });
}

ScrapedStreamgate::~ScrapedStreamgate() {
  scraper_.request_stop();
  scraper_.join();
  endpoint_.remove("bench");
}

}  // namespace streamgate::bench
