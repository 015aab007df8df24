// SPDX-License-Identifier: Apache-2.0
//
// Which libtorch, device, driver and OS a measurement was made on. Plain values; who finds them out
// is a backend, and who compares them is the limits file's business.
#pragma once

#include <string>

namespace streamgate::policies {

/// Which libtorch, device, driver and OS this is. Measured limits hold for one provenance only.
/// Empty fields are unknown or do not apply.
struct Provenance {
  std::string backend{};
  std::string libtorch{};  ///< Version and build of the library that is loaded, not of the headers.
  std::string device{};
  std::string driver{};
  std::string os{};
  friend bool operator==(const Provenance&, const Provenance&) = default;
};

}  // namespace streamgate::policies
