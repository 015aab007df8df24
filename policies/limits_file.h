// SPDX-License-Identifier: Apache-2.0
//
// The limits file: what the probe measured of one libtorch on one device, and whether it holds
// here. Plain values, and the reading and writing of the TOML; measuring is the probe's business,
// and acting on it the executor's.
#pragma once

#include <streamgate/policies/op_class.h>
#include <streamgate/policies/provenance.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace streamgate::policies {

/// Good completions a second at one width.
struct Throughput {
  std::size_t threads = 0;
  double per_second = 0;
  bool operator==(const Throughput&) const = default;
};

/// What was measured of one op class.
struct ClassLimits {
  OpClass op_class = OpClass::kRaw;
  /// The largest width with no failure at it or below it; the largest that was tried when nothing
  /// failed. At least 1.
  std::size_t ceiling = 1;
  std::optional<std::size_t> first_failure{};  ///< The smallest width that failed.
  std::string failure{};  ///< "SIGSEGV", "SIGABRT", another signal's name, "hang" or "corrupt".
  std::uint64_t trials = 0;    ///< Operations at the ceiling's width.
  std::uint64_t failures = 0;  ///< Of those; 0 unless the class failed at width 1.
  /// Upper bound of the failure probability of one operation at the ceiling.
  double failure_probability_upper = 1;
  std::optional<std::size_t> knee{};  ///< The smallest width with (nearly) the best throughput.
  std::vector<Throughput> throughput{};
  bool operator==(const ClassLimits&) const = default;
};

/// What worker processes brought when measured.
struct OverflowGain {
  std::size_t workers = 0;
  double gain = 0;  ///< Throughput with workers over that of this process alone.
  bool operator==(const OverflowGain&) const = default;
};

/// The content of a limits file, and of the JSON of `streamgate probe`.
struct Limits {
  Provenance provenance{};
  std::vector<ClassLimits> classes{};  ///< Each class at most once, in the order of kAllOpClasses.
  std::vector<std::pair<OpClass, OpClass>> incompatible{};
  std::optional<OverflowGain> overflow{};
  bool operator==(const Limits&) const = default;
};

/// A limits file that cannot be used. what() has one line for each thing that is wrong; each names
/// file, line, key and what is allowed.
class LimitsError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads a limits file. Throws LimitsError. Blocks while it reads the file.
[[nodiscard]] Limits load_limits(const std::filesystem::path& file);

/// The same for text; `source` stands for the file's name in errors.
[[nodiscard]] Limits parse_limits(std::string_view toml, std::string_view source);

/// As TOML. ENSURES: parse_limits(print_limits(l)) equals l.
[[nodiscard]] std::string print_limits(const Limits& limits);

/// Writes the file whole or not at all: a temporary file beside it, renamed. Throws LimitsError
/// that names the path and the remedy.
void save_limits(const Limits& limits, const std::filesystem::path& file);

/// What differs between where the limits were measured and here, in words for people ("libtorch
/// 2.14.0 there, 2.13.1 here"); empty when nothing does, and the limits hold.
[[nodiscard]] std::vector<std::string> differences(const Provenance& measured,
                                                   const Provenance& here);

}  // namespace streamgate::policies
