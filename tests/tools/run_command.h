// SPDX-License-Identifier: Apache-2.0
//
// Runs the command `streamgate` of this build, as a shell would.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace streamgate::tools {

struct CommandResult {
  int exit_code = -1;  ///< -1: it was ended by a signal, or by the deadline of 60 s.
  std::string out{};
  std::string err{};
};

/// The environment is this process's, with `environment` set in it.
[[nodiscard]] CommandResult run_command(const std::vector<std::string>& arguments,
                                        const std::map<std::string, std::string>& environment = {});

/// The environment in which the file is loaded before the libraries that the command is linked
/// with.
[[nodiscard]] std::map<std::string, std::string> preload(const std::string& library);

}  // namespace streamgate::tools
