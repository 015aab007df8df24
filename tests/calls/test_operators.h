// SPDX-License-Identifier: Apache-2.0
//
// Operators of a library of the operator's own, linked into the tests and their workers alike: they
// tell which process they run in, leave notes of each run, and die where that is asked for.
#pragma once

#include <cstddef>
#include <string>

namespace streamgate::testing {

/// To be called by the worker's main: in any other process an operator that is to die throws.
void this_is_a_worker() noexcept;

/// Runs that were noted in the file.
[[nodiscard]] std::size_t notes_in(const std::string& file);

}  // namespace streamgate::testing
