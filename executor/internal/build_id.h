// SPDX-License-Identifier: Apache-2.0
//
// The identity that a linker gave to a loaded library: two builds of one version differ in it. It
// says nothing of the library's file, which may have been replaced since.
#pragma once

#include <string>

namespace streamgate::executor {

/// The build id, in hexadecimal, of the loaded library or program that this address lies in: ELF's
/// GNU build id, Mach-O's UUID. Empty where the linker was not asked for one.
[[nodiscard]] std::string build_id_of(const void* address);

}  // namespace streamgate::executor
