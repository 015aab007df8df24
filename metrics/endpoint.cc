// SPDX-License-Identifier: Apache-2.0
//
// The HTTP server, which is cpp-httplib's, and what it answers when it cannot be had. Not
// prometheus-cpp's own exposer: civetweb starts its threads with 100 KiB of stack, which is less
// than glibc asks for once libtorch's thread-local storage is in the process (Debian 12: 112 KiB),
// so it cannot start there at all.
#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>
#include <streamgate/metrics/collector.h>
#include <streamgate/metrics/endpoint.h>
#include <streamgate/metrics/status.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <iterator>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace streamgate::metrics {
namespace {

/// A literal address in one of its families; `text` is its usual form.
struct Address {
  int family;
  std::string text;
  sockaddr_storage socket_address;
  socklen_t length;
  bool is_any;
  bool is_loopback;
};

template <typename SocketAddress>
sockaddr_storage stored(const SocketAddress& address) {
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof(address));
  return storage;
}

/// Nothing but literals: a name could resolve to more than this machine's loopback.
std::optional<Address> parse_address(const std::string& text, std::uint16_t port) {
  if (text.find('\0') != std::string::npos) return std::nullopt;  // inet_pton would stop there.
  const std::string literal = text == "localhost" ? "127.0.0.1" : text;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (inet_pton(AF_INET, literal.c_str(), &v4.sin_addr) == 1) {
    return Address{AF_INET,
                   literal,
                   stored(v4),
                   sizeof(v4),
                   v4.sin_addr.s_addr == INADDR_ANY,
                   (ntohl(v4.sin_addr.s_addr) >> 24) == 127};
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  if (inet_pton(AF_INET6, literal.c_str(), &v6.sin6_addr) == 1) {
    return Address{AF_INET6,
                   "[" + literal + "]",
                   stored(v6),
                   sizeof(v6),
                   IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr) != 0,
                   IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0};
  }
  return std::nullopt;
}

/// Why the system does not let us listen there; 0 when it does. The server does not tell.
int listen_error(const Address& address) {
  const int listener = socket(address.family, SOCK_STREAM, 0);
  if (listener < 0) return errno;
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  int error = 0;
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address.socket_address), address.length) !=
          0 ||
      listen(listener, 1) != 0) {
    error = errno;
  }
  close(listener);
  return error;
}

std::string remedy_for(int error) {
  switch (error) {
    case EADDRINUSE:
      return "choose another metrics.port, or 0 for any free one";
    case EACCES:
      return "choose a metrics.port from 1024 on, or 0 for any free one";
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return "choose a metrics.address that this machine has, such as 127.0.0.1";
    case 0:
      return "try again: something may have held the port just then";
    default:
      return "choose another metrics.address or metrics.port";
  }
}

/// As cpp-httplib does by default, but for SO_REUSEPORT: a second server on the port must be
/// refused.
void set_listener_options(socket_t listener) {
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

bool shows_status(policies::ShowStatus wanted, const Address& address) {
  return wanted == policies::ShowStatus::kAlways ||
         (wanted == policies::ShowStatus::kLoopback && address.is_loopback);
}

/// Whether a request names this machine's loopback as it is written in an address bar. A page from
/// elsewhere may have its own name lead to 127.0.0.1, and read in a browser what is served there.
bool names_loopback(const httplib::Request& request) {
  std::string host = request.get_header_value("Host");
  const std::size_t colon = host.rfind(':');
  if (colon != host.npos && host.find(']', colon) == host.npos) host.resize(colon);
  if (host == "localhost" || host == "[::1]") return true;
  in_addr v4{};
  return inet_pton(AF_INET, host.c_str(), &v4) == 1;
}

/// The page runs its own script and asks for its own numbers, and nothing else; no other page may
/// frame it.
void set_status_headers(httplib::Response& response) {
  response.set_header("Content-Security-Policy",
                      "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
                      "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                      "frame-ancestors 'none'");
  response.set_header("X-Content-Type-Options", "nosniff");
  response.set_header("Referrer-Policy", "no-referrer");
  response.set_header("Cache-Control", "no-store");
}

/// For an error's text, which would end at a NUL.
std::string quoted(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return '"' + text + '"';
}

[[noreturn]] void refuse(const std::string& address, std::uint16_t port, const std::string& why,
                         const std::string& remedy) {
  throw std::runtime_error("cannot serve metrics on " + address + " port " + std::to_string(port) +
                           ": " + why + "; " + remedy);
}

/// What one scrape of the endpoint is made of: one collector of executors, and the service's own.
class Page {
 public:
  [[nodiscard]] Collector& executors() noexcept { return executors_; }

  void add(std::weak_ptr<prometheus::Collectable> collectable) {
    const std::lock_guard lock(mutex_);
    std::erase_if(others_, [](const auto& other) { return other.expired(); });
    others_.push_back(std::move(collectable));
  }

  [[nodiscard]] std::vector<prometheus::MetricFamily> collect() const {
    std::vector<prometheus::MetricFamily> families = executors_.Collect();
    for (const auto& other : others()) {
      try {
        const auto collectable = other.lock();
        if (!collectable) continue;
        auto more = collectable->Collect();
        families.insert(families.end(), std::make_move_iterator(more.begin()),
                        std::make_move_iterator(more.end()));
      } catch (...) {
        // The service's own trouble must not cost it our metrics.
      }
    }
    return families;
  }

 private:
  [[nodiscard]] std::vector<std::weak_ptr<prometheus::Collectable>> others() const {
    const std::lock_guard lock(mutex_);
    return others_;
  }

  Collector executors_;
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<prometheus::Collectable>> others_;
};

}  // namespace

class Endpoint::Server {
 public:
  explicit Server(const policies::Config::Metrics& config) {
    if (!config.enabled) return;
    const std::optional<Address> address = parse_address(config.address, config.port);
    if (!address) {
      refuse(quoted(config.address), config.port, "not an address",
             "metrics.address must be an IPv4 or IPv6 literal or \"localhost\"");
    }
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_.set_socket_options(set_listener_options);
    // A client that stalls, or stays, keeps a thread, and Prometheus out if all do.
    server_.set_read_timeout(kPatience);
    server_.set_write_timeout(kPatience);
    server_.set_keep_alive_max_count(1);
    server_.set_payload_max_length(kLongestRequestBody);
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(prometheus::TextSerializer().Serialize(page_.collect()),
                           "text/plain; version=0.0.4; charset=utf-8");
    });

    if (shows_status(config.status, *address)) serve_status(config.status);

    const std::string host = bare(address->text);
    int port = config.port;
    if (port == 0) {
      port = server_.bind_to_any_port(host);
    } else if (!server_.bind_to_port(host, port)) {
      port = -1;
    }
    if (port <= 0) {
      const int code = listen_error(*address);
      refuse(
          address->text, config.port,
          code == 0 ? "the HTTP server cannot listen there" : std::generic_category().message(code),
          remedy_for(code));
    }
    port_ = static_cast<std::uint16_t>(port);
    const std::string any = address->family == AF_INET ? "127.0.0.1" : "[::1]";
    url_ = "http://" + (address->is_any ? any : address->text) + ":" + std::to_string(port_) +
           "/metrics";
    if (status_) status_url_ = url_.substr(0, url_.size() - std::strlen("metrics"));
    thread_ = std::thread([this] {
      server_.listen_after_bind();
      ended_ = true;
    });
    // stop() is heard only by a server that runs.
    while (!server_.is_running() && !ended_) std::this_thread::yield();
  }

  ~Server() {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] Page& page() noexcept { return page_; }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] const std::string& url() const noexcept { return url_; }
  [[nodiscard]] const std::string& status_url() const noexcept { return status_url_; }

 private:
  // The patience is for one read: clients that send byte by byte can hold as many threads as they
  // are. On loopback, where this listens unless told otherwise, those are one's own.
  static constexpr std::size_t kThreads = 4;
  static constexpr std::chrono::seconds kPatience{2};
  static constexpr std::size_t kLongestRequestBody = 1024;

  void serve_status(policies::ShowStatus shown) {
    status_.emplace(page_.executors());
    const auto serve = [this, shown](const char* path, const char* type, auto text) {
      server_.Get(path, [shown, type, text](const httplib::Request& request,
                                            httplib::Response& response) {
        set_status_headers(response);
        if (shown == policies::ShowStatus::kLoopback && !names_loopback(request)) {
          response.status = 403;
          response.set_content(
              "The status is for this machine: ask for it by 127.0.0.1, [::1] or localhost, or set "
              "metrics.status to \"always\".\n",
              "text/plain; charset=utf-8");
          return;
        }
        response.set_content(text(), type);
      });
    };
    serve("/", "text/html; charset=utf-8", [] { return std::string(Status::page()); });
    serve("/status.json", "application/json", [this] { return status_->json(); });
  }

  /// Without the brackets of an IPv6 literal.
  static std::string bare(const std::string& text) {
    return text.front() == '[' ? text.substr(1, text.size() - 2) : text;
  }

  Page page_;
  std::optional<Status> status_;  // Nothing where it is not served.
  std::uint16_t port_ = 0;
  std::string url_;
  std::string status_url_;
  httplib::Server server_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

Endpoint::Endpoint(const policies::Config::Metrics& config)
    : server_(std::make_unique<Server>(config)) {}
Endpoint::~Endpoint() = default;

void Endpoint::add(std::string name, const executor::Executor& executor) {
  server_->page().executors().add(std::move(name), executor);
}

void Endpoint::add(std::string name, executor::Provenance provenance,
                   std::function<executor::Snapshot()> snapshot) {
  server_->page().executors().add(std::move(name), std::move(provenance), std::move(snapshot));
}

void Endpoint::remove(std::string_view name) { server_->page().executors().remove(name); }

void Endpoint::add(std::weak_ptr<prometheus::Collectable> collectable) {
  server_->page().add(std::move(collectable));
}

std::uint16_t Endpoint::port() const noexcept { return server_->port(); }
const std::string& Endpoint::url() const noexcept { return server_->url(); }
const std::string& Endpoint::status_url() const noexcept { return server_->status_url(); }

}  // namespace streamgate::metrics
