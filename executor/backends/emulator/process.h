// SPDX-License-Identifier: Apache-2.0
//
// What the emulated Metal does to the process that it runs in: assertions that abort it, and faults
// that are real. When any of it happens is decided elsewhere.
#pragma once

#include <streamgate/policies/fault_model.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace streamgate::executor::metal {

/// Prints the assertion as Metal does, and aborts. `where` is the method that Metal names.
[[noreturn]] void fail_assertion(std::string_view where, std::string_view text) noexcept;

/// One of the three assertions that threads which encode at once were seen to die of (facts 1.1:
/// two threads, libtorch 2.9.1): the number picks which.
[[noreturn]] void fail_as_seen(std::uint64_t number) noexcept;

/// A read from where nothing is mapped.
[[noreturn]] void fail_by_bad_access() noexcept;

/// Never returns; only a signal that ends the process ends it.
[[noreturn]] void hang() noexcept;

/// Makes a result wrong and says nothing: every fifth 4-byte word, as attention on 8 streams had
/// 17-20 % wrong numbers (facts 1.2). A word that is a finite float x becomes x + |x| + 1, which is
/// another number whatever x was, so that no comparison with a tolerance overlooks it.
void damage(std::span<std::byte> output) noexcept;

/// Whether this is the thread that main runs on. Where that cannot be told: yes.
[[nodiscard]] bool on_main_thread() noexcept;

}  // namespace streamgate::executor::metal
