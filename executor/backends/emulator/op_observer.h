// SPDX-License-Identifier: Apache-2.0
//
// Between libtorch's calls of operators and the emulated stream of the thread that makes them: who
// sees the calls, and who encodes them. The one does not know the device, the other not libtorch.
#pragma once

#include <streamgate/policies/op_class.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace streamgate::executor::emulator::internal {

/// Makes libtorch tell of the operators that this thread calls, from now on to the thread's end.
/// Without libtorch in the build there is nothing to tell of.
void observe_operators_of_this_thread();

/// Whether an operator that this thread calls now is to be encoded.
[[nodiscard]] bool operators_are_encoded() noexcept;

/// What EmulatorOptions::classify says of it. REQUIRES: operators_are_encoded().
[[nodiscard]] std::optional<policies::OpClassSet> class_of_operator(std::string_view name);

/// An operator that has computed its result: encodes it. `output` is the result's memory when that
/// is floating-point numbers, else empty.
void encode_operator(std::string_view name, policies::OpClassSet classes,
                     std::span<std::byte> output);

/// An operator that hands the host a number out of a tensor, for which the device must be done.
void wait_for_operators() noexcept;

}  // namespace streamgate::executor::emulator::internal
