// SPDX-License-Identifier: Apache-2.0
#include "service.h"

#include "infer_request.h"
#include "infer_response.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace inference_server {
namespace {

using streamgate::Outcome;
using streamgate::Priority;

constexpr const char* kTimeoutHeader = "Streamgate-Timeout-Ms";
constexpr const char* kPriorityHeader = "Streamgate-Priority";
constexpr std::int64_t kLongestTimeoutMs = 3'600'000;

constexpr std::array<std::pair<std::string_view, Priority>, streamgate::executor::kPriorities>
    kPriorityWords = {{{"lowest", Priority::kLowest},
                       {"low", Priority::kLow},
                       {"normal", Priority::kNormal},
                       {"high", Priority::kHigh},
                       {"highest", Priority::kHighest}}};

/// Of requests with a model; so that each series is there before its first event.
constexpr std::array<int, 7> kStatuses = {200, 400, 429, 499, 500, 503, 504};

HttpReply error(int status, std::string_view text) {
  HttpReply reply{.status = status, .body = error_json(text)};
  // The queue turns over in well under a second; a client that comes back sooner only adds to it.
  if (status == 429 || status == 503) reply.headers.emplace_back("Retry-After", "1");
  return reply;
}

struct Wishes {
  Priority priority = Priority::kNormal;
  std::optional<std::chrono::milliseconds> timeout{};
  std::string error{};
};

Wishes wishes_of(const HttpRequest& request) {
  Wishes wishes;
  if (const auto text = request.header(kTimeoutHeader)) {
    std::int64_t value = 0;
    const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (code != std::errc() || end != text->data() + text->size() || value < 1 ||
        value > kLongestTimeoutMs) {
      wishes.error = std::string(kTimeoutHeader) + " must be an integer, 1 to 3600000";
      return wishes;
    }
    wishes.timeout = std::chrono::milliseconds(value);
  }
  if (const auto text = request.header(kPriorityHeader)) {
    const auto found = std::find_if(kPriorityWords.begin(), kPriorityWords.end(),
                                    [&](const auto& each) { return each.first == *text; });
    if (found == kPriorityWords.end()) {
      wishes.error = std::string(kPriorityHeader) + " must be lowest, low, normal, high or highest";
      return wishes;
    }
    wishes.priority = found->second;
  }
  return wishes;
}

/// As the specification has it, one that is not valid is as none.
std::optional<streamgate::TraceContext> trace_of(const HttpRequest& request) {
  const auto header = request.header("traceparent");
  return header ? streamgate::TraceContext::parse(*header) : std::nullopt;
}

/// The part of a path up to the next slash; `rest` loses it.
std::string_view next_part(std::string_view& rest) {
  if (!rest.starts_with('/')) return {};
  rest.remove_prefix(1);
  const std::string_view part = rest.substr(0, rest.find('/'));
  rest.remove_prefix(part.size());
  return part;
}

}  // namespace

Service::Service(const ServerConfig& config, std::vector<std::unique_ptr<Model>> models,
                 Runner& runner)
    : max_in_flight_(config.max_in_flight),
      default_deadline_(config.default_deadline),
      runner_(runner),
      metrics_(std::make_shared<prometheus::Registry>()),
      requests_(prometheus::BuildCounter()
                    .Name("inference_requests_total")
                    .Help("Inference requests by model and HTTP status; 499 is a client that left.")
                    .Register(*metrics_)),
      in_flight_gauge_(prometheus::BuildGauge()
                           .Name("inference_requests_in_flight")
                           .Help("Inference requests that are read, wait or run.")
                           .Register(*metrics_)
                           .Add({})) {
  auto& seconds = prometheus::BuildHistogram()
                      .Name("inference_request_duration_seconds")
                      .Help("Time from the whole request to its reply, of those that succeeded.")
                      .Register(*metrics_);
  for (std::unique_ptr<Model>& model : models) {
    const std::string& name = model->config().name;
    for (const int status : kStatuses) {
      requests_.Add({{"model", name}, {"code", std::to_string(status)}});
    }
    auto& histogram = seconds.Add({{"model", name}}, prometheus::Histogram::BucketBoundaries{
                                                         0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                         0.1, 0.25, 0.5, 1, 2.5, 5, 10});
    models_.push_back({.model = std::move(model), .seconds = &histogram});
  }
}

HttpHandlers Service::handlers() {
  return {.get = [this](const HttpRequest& request) { return get(request); },
          .admit = [this](const HttpRequest& request) { return admit(request); },
          .post = [this](const HttpRequest& request,
                         const std::string* body) { return post(request, body); }};
}

bool Service::drain(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  return left_.wait_until(lock, deadline, [this] { return in_flight_ == 0; });
}

bool Service::draining() const {
  const std::lock_guard lock(mutex_);
  return draining_;
}

bool Service::enter(Priority priority) {
  const std::lock_guard lock(mutex_);
  // Those of high priority go on to the executor's queue, which makes room by its own rules.
  const bool passes = priority > Priority::kNormal;
  if (draining_ || (in_flight_ >= max_in_flight_ && !passes)) return false;
  ++in_flight_;
  in_flight_gauge_.Increment();
  return true;
}

void Service::leave() {
  const std::lock_guard lock(mutex_);
  in_flight_gauge_.Decrement();
  if (--in_flight_ == 0) left_.notify_all();
}

HttpReply Service::counted(const Served* served, HttpReply reply) {
  if (served != nullptr) {
    requests_.Add({{"model", served->model->config().name}, {"code", std::to_string(reply.status)}})
        .Increment();
  }
  return reply;
}

/// /v2/models/NAME[/versions/VERSION][/ready|/infer]; /v1 is the same.
Service::Target Service::target_of(std::string_view path) const {
  const std::string_view version = next_part(path);
  if ((version != "v1" && version != "v2") || next_part(path) != "models") {
    return {.error = "there is nothing at this path; models are at /v2/models"};
  }
  const std::string_view name = next_part(path);
  Target target;
  for (const Served& each : models_) {
    if (each.model->config().name == name) target.model = &each;
  }
  // The name is only ever compared: no file is looked for by it.
  if (target.model == nullptr) {
    target.error = "there is no model of that name; GET /v2/models lists them";
    return target;
  }
  target.action = next_part(path);
  if (target.action == "versions") {
    if (next_part(path) != target.model->model->config().version) {
      return {.error = "the model has no such version; its version is " +
                       target.model->model->config().version};
    }
    target.action = next_part(path);
  }
  if (!path.empty()) return {.error = "there is nothing at this path of the model"};
  return target;
}

HttpReply Service::get(const HttpRequest& request) {
  std::string_view path = request.path();
  if (path.starts_with("/v1")) path = path.substr(3);
  if (path.starts_with("/v2")) path = path.substr(3);
  if (path.size() == request.path().size()) {
    return error(404, "there is nothing at this path; the protocol's paths begin with /v2");
  }
  if (path.empty() || path == "/") {
    return {.body = R"({"name":"streamgate inference_server","version":"1","extensions":[]})"};
  }
  if (path == "/health/live") return {.body = R"({"live":true})"};
  if (path == "/health/ready") {
    return draining() ? error(503, "the server is draining")
                      : HttpReply{.body = R"({"ready":true})"};
  }
  if (path == "/models" || path == "/models/") return {.body = model_list()};
  const Target target = target_of(request.path());
  if (!target.error.empty()) return error(404, target.error);
  if (target.action.empty()) return {.body = metadata(*target.model)};
  if (target.action == "ready") {
    return draining() ? error(503, "the server is draining")
                      : HttpReply{.body = R"({"ready":true})"};
  }
  if (target.action == "infer") return error(405, "infer is asked for by POST");
  return error(404, "there is nothing at this path of the model");
}

std::string Service::model_list() const {
  std::string text = "{\"models\":[";
  for (const Served& each : models_) {
    const ModelConfig& config = each.model->config();
    text += (text.back() == '[' ? "" : ",");
    text += "{\"name\":" + json_string(config.name) +
            ",\"version\":" + json_string(config.version) + ",\"state\":\"READY\"}";
  }
  return text + "]}";
}

std::string Service::metadata(const Served& served) const {
  const ModelConfig& config = served.model->config();
  return "{\"name\":" + json_string(config.name) + ",\"versions\":[" + json_string(config.version) +
         "],\"platform\":\"pytorch_torchscript\",\"inputs\":" + specs_json(config.inputs) +
         ",\"outputs\":" + specs_json(config.outputs) + "}";
}

std::optional<HttpReply> Service::admit(const HttpRequest& request) {
  const Target target = target_of(request.path());
  if (!target.error.empty()) return error(404, target.error);
  if (target.action != "infer") return error(405, "only infer is asked for by POST");
  if (draining()) return counted(target.model, error(503, "the server is draining"));
  if (request.header("Inference-Header-Content-Length")) {
    return counted(target.model, error(400, "tensors as binary data are not supported here"));
  }
  const Wishes wishes = wishes_of(request);
  if (!wishes.error.empty()) return counted(target.model, error(400, wishes.error));
  if (!enter(wishes.priority)) {
    return counted(target.model, error(429, "too many requests are being served; come back later"));
  }
  return std::nullopt;
}

HttpReply Service::post(const HttpRequest& request, const std::string* body) {
  struct Leave {
    Service& service;
    ~Leave() { service.leave(); }
  } const leaves{*this};
  const Served& served = *target_of(request.path()).model;
  if (body == nullptr) return counted(&served, error(400, "the body could not be read"));
  return counted(&served, infer(request, served, *body));
}

HttpReply Service::infer(const HttpRequest& request, const Served& served,
                         const std::string& body) {
  const auto begin = std::chrono::steady_clock::now();
  const ModelConfig& config = served.model->config();
  const Wishes wishes = wishes_of(request);
  ParsedRequest parsed = parse_infer_request(body, config.inputs, config.outputs);
  if (!parsed.request) return error(400, parsed.error);
  const RunResult result =
      runner_.run(*served.model, parsed.request->inputs,
                  {.deadline = begin + wishes.timeout.value_or(default_deadline_),
                   .priority = wishes.priority,
                   .cost_bytes = body.size(),
                   .trace = trace_of(request)},
                  [&] { return request.client_gone(); });
  HttpReply reply = reply_to(result, served, parsed.request->id, parsed.request->outputs);
  if (reply.status == 200) {
    served.seconds->Observe(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return reply;
}

HttpReply Service::reply_to(const RunResult& result, const Served& served, const std::string& id,
                            const std::vector<std::string>& wanted) {
  switch (result.outcome) {
    case Outcome::kOk:
      break;
    case Outcome::kQueueFull:
    case Outcome::kBytesFull:
    case Outcome::kShed:
      return error(429, "the queue is full; come back later");
    case Outcome::kExpired:
      return error(504, "the request's time was over before its turn came");
    case Outcome::kShutdown:
      return error(503, "the server is draining");
    case Outcome::kQuarantined:
      return error(503, "this operation has ended workers before, and is not run");
    case Outcome::kTooLarge:
      return error(413, "the request needs more memory than this server has for requests");
    case Outcome::kWorkerDied:
      return error(503, "the worker that ran the request died");
    case Outcome::kCancelled:
      return error(499, "the client has left, or the server ends");
    case Outcome::kFailed:
      return error(500, "the model failed: " + result.error);
  }
  const ModelConfig& config = served.model->config();
  std::vector<Tensor> chosen;
  for (const Tensor& output : result.outputs) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), output.name) == wanted.end()) {
      continue;
    }
    chosen.push_back(output);
  }
  std::optional<std::string> body = infer_response_json(config.name, config.version, id, chosen);
  if (!body)
    return error(500, "the model returned a number that JSON cannot say (infinite or NaN)");
  return {.body = *std::move(body)};
}

}  // namespace inference_server
