// SPDX-License-Identifier: Apache-2.0
//
// What became of the limits file that a config names, and what follows for the gates of an
// executor. Reading the file and comparing provenances are policies/limits_file.h's business.
#pragma once

#include <streamgate/executor/backends/backend.h>
#include <streamgate/executor/snapshot.h>
#include <streamgate/policies/config.h>
#include <streamgate/policies/limits_file.h>
#include <streamgate/policies/op_class.h>

#include <cstddef>
#include <optional>
#include <string>

namespace streamgate::executor {

/// Measured limits, and whether they hold here. Plain values.
struct MeasuredLimits {
  Snapshot::Limits state{};
  policies::Limits limits{};               ///< Empty unless they are used.
  std::optional<policies::Limits> read{};  ///< What the file said, used or not.

  /// What was measured of a class; null when that is not known here.
  [[nodiscard]] const policies::ClassLimits* find(policies::OpClass op_class) const noexcept;
  /// The ceiling that was measured; nothing when that is not known here.
  [[nodiscard]] std::optional<std::size_t> ceiling(policies::OpClass op_class) const noexcept;
  /// Whether the class is held at 1 whatever the config says, as its limits were measured
  /// elsewhere.
  [[nodiscard]] bool holds_at_one(policies::OpClass op_class) const noexcept;
};

/// The limits file of the config; nothing when it names none. Throws policies::LimitsError.
[[nodiscard]] std::optional<policies::Limits> read_limits(const policies::Config& config);

/// What they mean on this backend. REQUIRES: it is initialised.
[[nodiscard]] MeasuredLimits judge(std::optional<policies::Limits> limits,
                                   const policies::Config& config, const Backend& backend);

/// What an operator must know of it, in one line; empty when there is nothing.
[[nodiscard]] std::string notice(const MeasuredLimits& measured, const Backend& backend);

/// Throws std::invalid_argument that names both when the config asks for a ceiling above the
/// measured one.
void check_ceilings(const policies::Config& config, const MeasuredLimits& measured);

/// Replaces every "the executor decides" of the gates by what it decides, and throws
/// std::invalid_argument for a ceiling above the measured one, or a limit above the ceiling.
void resolve_gates(policies::Config& config, const MeasuredLimits& measured, std::size_t streams,
                   const Backend& backend);

}  // namespace streamgate::executor
