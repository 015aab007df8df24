// SPDX-License-Identifier: Apache-2.0
//
// The HTTP server, from prometheus-cpp's exposer, and what it answers when it cannot be had.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <streamgate/metrics/collector.h>
#include <streamgate/metrics/endpoint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <iterator>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
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
};

template <typename SocketAddress>
sockaddr_storage stored(const SocketAddress& address) {
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof(address));
  return storage;
}

/// Nothing but literals: civetweb would take a list of ports and names in the same string.
std::optional<Address> parse_address(const std::string& text, std::uint16_t port) {
  if (text.find('\0') != std::string::npos) return std::nullopt;  // inet_pton would stop there.
  const std::string literal = text == "localhost" ? "127.0.0.1" : text;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (inet_pton(AF_INET, literal.c_str(), &v4.sin_addr) == 1) {
    return Address{AF_INET, literal, stored(v4), sizeof(v4), v4.sin_addr.s_addr == INADDR_ANY};
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  if (inet_pton(AF_INET6, literal.c_str(), &v6.sin6_addr) == 1) {
    return Address{AF_INET6, "[" + literal + "]", stored(v6), sizeof(v6),
                   IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr) != 0};
  }
  return std::nullopt;
}

/// Why the system does not let us listen there; 0 when it does. civetweb does not tell.
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

std::string remedy_for(int error, const Address& address) {
  switch (error) {
    case EADDRINUSE:
      return "choose another metrics.port, or 0 for any free one";
    case EACCES:
      return "choose a metrics.port from 1024 on, or 0 for any free one";
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return "choose a metrics.address that this machine has, such as 127.0.0.1";
    case 0:
      if (address.family == AF_INET6) {
        return "the HTTP server of this prometheus-cpp may be built without IPv6, as Debian's is: "
               "choose an IPv4 metrics.address, such as 127.0.0.1";
      }
      return "try again: something may have held the port just then";
    default:
      return "choose another metrics.address or metrics.port";
  }
}

/// Makes a connection and drops it, without waiting.
void knock(const Address& address) noexcept {
  const int client = socket(address.family, SOCK_STREAM, 0);
  if (client < 0) return;
  fcntl(client, F_SETFL, O_NONBLOCK);
  (void)connect(client, reinterpret_cast<const sockaddr*>(&address.socket_address), address.length);
  close(client);
}

/// Knocks every few milliseconds while it lives.
class Knocker {
 public:
  explicit Knocker(const Address& address)
      : thread_([this, address](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            knock(address);
            std::unique_lock lock(mutex_);
            ended_.wait_for(lock, stop, std::chrono::milliseconds(5), [] { return false; });
          }
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any ended_;
  std::jthread thread_;
};

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
class Page : public prometheus::Collectable {
 public:
  [[nodiscard]] Collector& executors() noexcept { return executors_; }

  void add(std::weak_ptr<prometheus::Collectable> collectable) {
    const std::lock_guard lock(mutex_);
    std::erase_if(others_, [](const auto& other) { return other.expired(); });
    others_.push_back(std::move(collectable));
  }

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> families = executors_.Collect();
    for (const auto& other : others()) {
      try {
        const auto collectable = other.lock();
        if (!collectable) continue;
        auto more = collectable->Collect();
        families.insert(families.end(), std::make_move_iterator(more.begin()),
                        std::make_move_iterator(more.end()));
      } catch (...) {
        // On a thread of a C server: an exception would end the process.
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
    try {
      exposer_.emplace(std::vector<std::string>{
          "listening_ports", address->text + ":" + std::to_string(config.port),  //
          "num_threads", "2",
          // A client that stalls keeps a thread for so long, and Prometheus out if two do.
          "request_timeout_ms", "2000",  //
          "enable_directory_listing", "no"});
    } catch (const std::exception& error) {
      const int code = listen_error(*address);
      refuse(address->text, config.port,
             code == 0 ? error.what() : std::generic_category().message(code),
             remedy_for(code, *address));
    }
    port_ = static_cast<std::uint16_t>(exposer_->GetListeningPorts().at(0));
    const std::string any = address->family == AF_INET ? "127.0.0.1" : "[::1]";
    url_ = "http://" + (address->is_any ? any : address->text) + ":" + std::to_string(port_) +
           "/metrics";
    listening_ = parse_address(config.address, port_);
    exposer_->RegisterCollectable(page_);
  }

  ~Server() {
    // civetweb (1.15, 1.16) looks every two seconds whether it should end, or when somebody comes.
    std::optional<Knocker> knocker;
    try {
      if (listening_) knocker.emplace(*listening_);
    } catch (const std::system_error&) {
      // No thread to be had: the two seconds, then.
    }
    exposer_.reset();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] Page& page() noexcept { return *page_; }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] const std::string& url() const noexcept { return url_; }

 private:
  // Shared with a scrape of the exposer, which locks its weak pointer to it.
  std::shared_ptr<Page> page_ = std::make_shared<Page>();
  std::uint16_t port_ = 0;
  std::string url_;
  std::optional<Address> listening_;
  std::optional<prometheus::Exposer> exposer_;
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

}  // namespace streamgate::metrics
