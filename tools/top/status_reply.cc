// SPDX-License-Identifier: Apache-2.0
#include "top/status_reply.h"

#include <httplib.h>

#include <cstddef>

namespace streamgate::tools {
namespace {

constexpr std::size_t kLargestReply = std::size_t{16} << 20;

}  // namespace

std::string base_of(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme) || url.size() == kScheme.size()) {
    throw NoStatus("'" + url +
                   "' is not an address: give the one that the service prints, such as "
                   "http://127.0.0.1:9464");
  }
  return url.substr(0, url.find('/', kScheme.size()));
}

nlohmann::ordered_json ask_for_status(const std::string& base, std::chrono::seconds at_most) {
  httplib::Client client(base);
  client.set_connection_timeout(at_most);
  client.set_read_timeout(at_most);
  client.set_write_timeout(at_most);
  std::string body;
  int code = 0;
  const auto result = client.Get(
      "/status.json", httplib::Headers{},
      [&](const httplib::Response& response) {
        code = response.status;
        return true;
      },
      [&](const char* bytes, std::size_t size) {
        body.append(bytes, size);
        return body.size() <= kLargestReply;
      });
  if (body.size() > kLargestReply) throw NoStatus(base + "/status.json is too long to be a status");
  if (!result) {
    throw NoStatus("nothing answers at " + base + " (" + to_string(result.error()) +
                   "): is the service running, and is this the address it prints for its metrics?");
  }
  if (code == 404) {
    throw NoStatus(base +
                   " serves no status: set metrics.status in the service's config, which by "
                   "default serves it on loopback only");
  }
  if (code != 200) {
    throw NoStatus(base + "/status.json answers " + std::to_string(code) + ": " +
                   body.substr(0, 200));
  }
  auto status = nlohmann::ordered_json::parse(body, nullptr, false);
  if (!status.is_object() || !status.contains("executors") || !status["executors"].is_array()) {
    throw NoStatus(base + "/status.json is not the status of an executor");
  }
  return status;
}

}  // namespace streamgate::tools
