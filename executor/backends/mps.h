// SPDX-License-Identifier: Apache-2.0
//
// libtorch on Metal: a stream is one of libtorch's MPS streams, and how many of them there are, and
// how one comes by them, is the tier of the libtorch that this library was built with. It is no
// cure for what Metal does beyond its safe width: that is the gate's.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <cstdint>
#include <memory>
#include <string_view>

namespace streamgate::executor {

/// How a libtorch hands out streams on MPS (facts.md 1.3).
enum class MpsTier : std::uint8_t {
  kNone,          ///< No MPS.
  kSingle,        ///< One stream, which every thread shares: upstream up to 2.13.
  kUpstreamPool,  ///< A default stream and 32 in turn: upstream from 2.14.
  kForkA,         ///< 32 by index, shared past that: the fork's cumulative patch.
  kForkB          ///< 32 in exclusive slots: the fork's patch 038.
};

/// "none", "single", "upstream pool", "fork A" or "fork B": the words of doctor and provenance.
[[nodiscard]] constexpr std::string_view to_string(MpsTier tier) noexcept {
  switch (tier) {
    case MpsTier::kSingle:
      return "single";
    case MpsTier::kUpstreamPool:
      return "upstream pool";
    case MpsTier::kForkA:
      return "fork A";
    case MpsTier::kForkB:
      return "fork B";
    case MpsTier::kNone:
      break;
  }
  return "none";
}

/// The tier that this library was built for, as its libtorch's headers have it. Whether there is a
/// device as well is found by initialise.
[[nodiscard]] MpsTier mps_tier() noexcept;

/// The backend "mps".
///
/// Thread-safety: as Backend. Ownership: the streams that it opens are its own until its end, in
/// the whole process: no other executor gets them. Blocking: initialise waits for the device, at
/// most 30 s; synchronize to its deadline; nothing else. Failure: without MPS, in a forked child
/// (pytorch#178037) and after main has returned it makes no call of the device: initialise,
/// open_stream and require_usable throw std::runtime_error.
///
///     policies::Config config;
///     config.executor.backend = "mps";
///     streamgate::Executor executor({.config = config});  // on the main thread
///     auto sum = executor.submit([x] { return x.sum().cpu(); });
///     std::cout << *sum.get() << '\n';
[[nodiscard]] std::unique_ptr<Backend> make_mps_backend(const policies::Config& config);

}  // namespace streamgate::executor
