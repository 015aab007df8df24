// SPDX-License-Identifier: Apache-2.0
//
// Asks a running service for its status. Loopback or not, what comes back is not trusted: it is
// bounded and must be JSON; what is read of it is checked where it is read.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace streamgate::tools {

/// Nothing that can be used has answered; what() says where, why and what to do.
class NoStatus : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// "http://127.0.0.1:9464" of what a service prints, with or without a path behind it. Throws
/// NoStatus for what is not such an address.
[[nodiscard]] std::string base_of(const std::string& url);

/// The status of the service at that base. Blocks for at most so long. Throws NoStatus.
[[nodiscard]] nlohmann::ordered_json ask_for_status(const std::string& base,
                                                    std::chrono::seconds at_most);

}  // namespace streamgate::tools
