// SPDX-License-Identifier: Apache-2.0
//
// What a simulation plays: a load, a plant that answers it, and the bounds of both. Plain values;
// the JSON form of them is the command's business.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

namespace streamgate::executor::simulation {

enum class LoadKind : std::uint8_t {
  kClosed,  ///< So many clients, each with one request at a time.
  kOpen     ///< Requests come at a rate, whether or not the ones before were answered.
};
enum class Arrival : std::uint8_t { kUniform, kPoisson };

/// A time of an open load. The rate goes in a straight line from one end to the other.
struct LoadStage {
  double seconds = 0;
  double rps_from = 0;
  double rps_to = 0;
};

struct Load {
  LoadKind kind = LoadKind::kClosed;
  std::size_t clients = 1;             ///< Closed.
  Arrival arrival = Arrival::kPoisson; ///< Open.
  std::size_t requests = 0;            ///< Open: the load ends after so many; 0: with its stages.
  std::vector<LoadStage> stages{};     ///< Open.
};

enum class PlantKind : std::uint8_t { kDelay, kPower, kSharing };

/// How long the plant takes. With n in flight, the request itself included, and service s:
///
/// - delay:   s * (1 + (n - 1) * scale + base^max(0, n - knee) - 1 + jitter * Exp(1))
/// - power:   s * max(1, n / knee)^exponent * (1 + jitter * Exp(1))
/// - sharing: work of s * (1 + jitter * Exp(1)) on so many threads that are shared evenly
///
/// The first two are fixed when the request is admitted.
struct Plant {
  PlantKind kind = PlantKind::kDelay;
  double service_s = 0.1;
  double jitter = 0;
  double scale = 0;       ///< Delay.
  double knee = 1;        ///< Delay, power.
  double base = 1;        ///< Delay; 1: no knee.
  double exponent = 1;    ///< Power.
  double threads = 1;     ///< Sharing.
  /// A share of the requests takes so many times as long: a mix, or a heavy tail.
  double heavy_share = 0;
  double heavy_factor = 1;
};

/// From a moment on, the plant is another one, for what is admitted from then on. The kind stays.
struct PlantStage {
  double from_s = 0;
  Plant plant{};
};

struct Scenario {
  double duration_s = 60;
  std::size_t initial_limit = 1;
  std::size_t ceiling = 64;
  /// A request that the plant has had so long without an answer counts as failed; 0: never.
  double timeout_s = 0;
  std::size_t queue = 1000;  ///< Requests that may wait.
  Load load{};
  Plant plant{};
  std::vector<PlantStage> plant_stages{};  ///< By from_s, ascending.
  /// With more in flight, the plant refuses at once, never answers, or dies.
  std::optional<std::size_t> reject_above{};
  std::optional<std::size_t> drop_above{};
  std::optional<std::size_t> crash_above{};
};

/// Throws std::invalid_argument that names the field, as the JSON does, and what is allowed.
void check(const Scenario& scenario);

}  // namespace streamgate::executor::simulation
