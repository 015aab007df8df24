// SPDX-License-Identifier: Apache-2.0
//
// The command line of the digits program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace digits {

struct Options {
  std::filesystem::path data;
  std::filesystem::path config;     ///< Empty: the defaults.
  std::filesystem::path model_out;  ///< Empty: a temporary file.
  std::size_t epochs = 8;
  std::uint64_t seed = 1;
  std::size_t clients = 8;
  std::size_t intra_op_threads = 0;  ///< Of plain threads and the mutex; 0: libtorch's default.
  std::size_t batch = 10;
  std::size_t rounds = 3;
  double seconds = 2.0;  ///< Of each way in each round.
  bool sweep = false;
  bool serve = false;
  bool json = false;
};

/// What the command line asks for; or, when it asked for help or cannot be used, which has then
/// been said, the program's exit code.
struct ParsedOptions {
  Options options;
  std::optional<int> exit_code;
};

[[nodiscard]] ParsedOptions parse_options(int argc, const char* const* argv);

}  // namespace digits
