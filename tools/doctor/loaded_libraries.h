// SPDX-License-Identifier: Apache-2.0
//
// The shared libraries of this process, as the loader tells them. The only file of the command that
// knows the loader.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace streamgate::tools {

/// The files of all libraries that are loaded, links resolved, each once, in load order.
[[nodiscard]] std::vector<std::filesystem::path> loaded_libraries();

/// The file, links resolved, of the definition of a C function that the libraries loaded at start
/// use; empty when none of them has it.
[[nodiscard]] std::filesystem::path library_of(const std::string& function);

/// The address of a C function in that library or what it depends on; null when there is none, or
/// the library is not loaded.
[[nodiscard]] void* function_in(const std::filesystem::path& library, const std::string& function);

}  // namespace streamgate::tools
