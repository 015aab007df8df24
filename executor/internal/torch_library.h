// SPDX-License-Identifier: Apache-2.0
//
// Which libtorch this process really runs on, and on what machine. For 33 iterations the origin of
// this project measured the wrong one of two installed libtorches (facts.md 1.1, seed 001).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace streamgate::executor {

/// The version that the loaded library was built as ("1.13.1"); the headers' version, marked as
/// such, when the library does not say.
[[nodiscard]] std::string loaded_torch_version();
/// The version of the headers that this library was compiled with.
[[nodiscard]] std::string header_torch_version();

/// A build setting of the loaded library by its name, as "BLAS_INFO"; empty when it has none.
[[nodiscard]] std::string loaded_torch_setting(std::string_view name);

/// The file that libtorch was loaded from; empty when that cannot be told.
[[nodiscard]] std::filesystem::path loaded_torch_path();

/// A function of the loaded library, or of the libraries that it was linked with, by its C name;
/// null when there is none. Found that way, since a program may have a second OpenMP of its own.
[[nodiscard]] void* loaded_torch_function(const char* name);

/// The commit that the loaded library was built from; empty when it is not said. libtorch has no
/// function for it: some builds have it among their settings, for others see the next function.
[[nodiscard]] std::string loaded_torch_git_hash();
/// The commit as the distribution says that the library file lies in: `build-hash` in libtorch's
/// archives, `version.py` in Python's package, both one folder above lib/. Debian's has neither.
[[nodiscard]] std::string torch_git_hash_beside(const std::filesystem::path& library);

/// Which libtorch this is, to the build: "1.13.1 (build 1a2b3c4d5e6f)", with the first twelve
/// digits of its build id, else of its commit; the version alone where it has neither. For
/// provenance: what was measured of one build does not hold for another of the same version.
[[nodiscard]] std::string loaded_torch_identity();
/// The same for these three.
[[nodiscard]] std::string torch_identity(const std::string& version, const std::string& build_id,
                                         const std::string& git_hash);

/// Other files of the same library in the places where a loader looks: the path built into the
/// program, LD_LIBRARY_PATH (or its macOS name), the system's library folders and the folder of the
/// loaded one. Links to the loaded file do not count.
[[nodiscard]] std::vector<std::filesystem::path> other_torch_paths();

/// "AMD EPYC 9R14, 2 cores" or what the machine says of itself.
[[nodiscard]] std::string cpu_model();
/// "Linux 6.1.0 x86_64".
[[nodiscard]] std::string operating_system();
/// The major version of macOS, 15 of 15.1; nothing on another system, or where it is not said.
[[nodiscard]] std::optional<unsigned> macos_version();

}  // namespace streamgate::executor
