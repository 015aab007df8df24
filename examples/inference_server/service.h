// SPDX-License-Identifier: Apache-2.0
//
// What the server answers: the paths of KServe's V2 protocol, and which outcome of a run is which
// status. Connections are http_server.h's business, running is runner.h's.
#pragma once

#include "http_server.h"
#include "model.h"
#include "runner.h"
#include "server_config.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inference_server {

/// Thread-safe. Owns the models; borrows the runner. Blocks while a request waits and runs, and in
/// drain to its deadline. Nothing that a client sends makes it throw.
class Service {
 public:
  Service(const ServerConfig& config, std::vector<std::unique_ptr<Model>> models, Runner& runner);

  [[nodiscard]] HttpHandlers handlers();

  /// From now on it is not ready and takes no more inferences. Waits until those that it has taken
  /// are answered; false when the deadline came first.
  [[nodiscard]] bool drain(std::chrono::steady_clock::time_point deadline);

  /// Requests by model and status, and how long they took.
  [[nodiscard]] std::shared_ptr<prometheus::Registry> metrics() const { return metrics_; }

 private:
  struct Served {
    std::unique_ptr<Model> model;
    prometheus::Histogram* seconds;
  };
  /// A path taken apart; `model` is null where it names none that there is.
  struct Target {
    const Served* model = nullptr;
    std::string_view action{};  ///< Behind the model: "", "ready" or "infer".
    std::string error{};        ///< Why there is none.
  };

  [[nodiscard]] HttpReply get(const HttpRequest& request);
  [[nodiscard]] std::optional<HttpReply> admit(const HttpRequest& request);
  [[nodiscard]] HttpReply post(const HttpRequest& request, const std::string* body);
  [[nodiscard]] HttpReply infer(const HttpRequest& request, const Served& served,
                                const std::string& body);
  [[nodiscard]] HttpReply reply_to(const RunResult& result, const Served& served,
                                   const std::string& id, const std::vector<std::string>& wanted);
  [[nodiscard]] Target target_of(std::string_view path) const;
  [[nodiscard]] std::string model_list() const;
  [[nodiscard]] std::string metadata(const Served& served) const;
  [[nodiscard]] bool draining() const;
  /// Counts the request; false when there is no room for it.
  [[nodiscard]] bool enter(streamgate::Priority priority);
  void leave();
  HttpReply counted(const Served* served, HttpReply reply);

  const std::size_t max_in_flight_;
  const std::chrono::milliseconds default_deadline_;
  Runner& runner_;
  std::shared_ptr<prometheus::Registry> metrics_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Gauge& in_flight_gauge_;
  std::vector<Served> models_;

  mutable std::mutex mutex_;
  std::condition_variable left_;
  std::size_t in_flight_ = 0;
  bool draining_ = false;
};

}  // namespace inference_server
