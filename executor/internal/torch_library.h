// SPDX-License-Identifier: Apache-2.0
//
// Which libtorch this process really runs on, and on what machine. For 33 iterations the origin of
// this project measured the wrong one of two installed libtorches (facts.md 1.1, seed 001).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace streamgate::executor {

/// The version that the loaded library was built as ("1.13.1"); the headers' version, marked as
/// such, when the library does not say.
[[nodiscard]] std::string loaded_torch_version();
/// The version of the headers that this library was compiled with.
[[nodiscard]] std::string header_torch_version();

/// The file that libtorch was loaded from; empty when that cannot be told.
[[nodiscard]] std::filesystem::path loaded_torch_path();

/// Other files of the same library in the places where a loader looks: LD_LIBRARY_PATH (or its
/// macOS name), the system's library folders and those beside the loaded one. Links to the loaded
/// file do not count.
[[nodiscard]] std::vector<std::filesystem::path> other_torch_paths();

/// "AMD EPYC 9R14, 2 cores" or what the machine says of itself.
[[nodiscard]] std::string cpu_model();
/// "Linux 6.1.0 x86_64".
[[nodiscard]] std::string operating_system();

}  // namespace streamgate::executor
