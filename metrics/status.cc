// SPDX-License-Identifier: Apache-2.0
#include <streamgate/metrics/status.h>

#include <streamgate/metrics/internal/history.h>
#include <streamgate/metrics/internal/status_json.h>
#include <streamgate/metrics/internal/status_page.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

namespace streamgate::metrics {
namespace {

/// Several to a point of the history: what is in flight changes faster than a point a second shows.
constexpr std::chrono::milliseconds kLookEvery{250};

}  // namespace

class Status::Sampler {
 public:
  explicit Sampler(const Collector& executors) : executors_(executors) {
    thread_ = std::jthread([this](const std::stop_token& stop) { look_until(stop); });
  }

  [[nodiscard]] std::string json() const {
    const std::vector<Collector::Seen> seen = executors_.read_all();
    const std::lock_guard lock(mutex_);
    std::vector<internal::StatusSource> sources;
    static const internal::History kNone;
    for (const Collector::Seen& each : seen) {
      const auto found = histories_.find(each.name);
      sources.push_back({each, found == histories_.end() ? kNone : found->second});
    }
    return internal::status_json(sources, executor::Clock::now(), std::chrono::system_clock::now());
  }

 private:
  void look_until(const std::stop_token& stop) {
    std::mutex unused;
    std::condition_variable_any stopped;
    std::unique_lock lock(unused);
    do {
      try {
        look();
      } catch (const std::bad_alloc&) {
        // A point is missing.
      }
    } while (!stopped.wait_for(lock, stop, kLookEvery, [] { return false; }) &&
             !stop.stop_requested());
  }

  void look() {
    const std::vector<Collector::Seen> seen = executors_.read_all();
    const executor::Clock::time_point now = executor::Clock::now();
    const std::lock_guard lock(mutex_);
    // Those of executors that are gone.
    std::map<std::string, internal::History> kept;
    for (const Collector::Seen& each : seen) {
      auto node = histories_.extract(each.name);
      auto& history = node.empty() ? kept.try_emplace(each.name).first->second
                                   : kept.insert(std::move(node)).position->second;
      history.add(now, each.snapshot);
    }
    histories_ = std::move(kept);
  }

  const Collector& executors_;
  mutable std::mutex mutex_;  // Guards the histories. Not held while a snapshot is taken.
  std::map<std::string, internal::History> histories_;
  std::jthread thread_;  // Last: it uses the others.
};

Status::Status(const Collector& executors) : sampler_(std::make_unique<Sampler>(executors)) {}
Status::~Status() = default;

std::string Status::json() const { return sampler_->json(); }

std::string_view Status::page() noexcept { return internal::status_page(); }

}  // namespace streamgate::metrics
