// SPDX-License-Identifier: Apache-2.0
//
// Which BLAS libtorch's matrix products really run on, and which OpenMP runtimes are loaded: what a
// link of the alternatives, or LD_LIBRARY_PATH, changes behind everybody's back.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "doctor/report.h"

namespace streamgate::tools {

/// Looks at the libraries of this process.
[[nodiscard]] BlasFacts find_blas();
[[nodiscard]] std::vector<std::filesystem::path> find_openmp_runtimes();

/// The kind of a BLAS by its file, links resolved.
[[nodiscard]] BlasKind blas_kind_of(const std::filesystem::path& library);
/// Whether a file's name is that of an OpenMP runtime: GCC's, LLVM's or Intel's, or a copy of one
/// that a Python package brought, as libgomp-a34b3233.so.1.
[[nodiscard]] bool is_openmp_runtime(std::string_view file_name);

}  // namespace streamgate::tools
