// SPDX-License-Identifier: Apache-2.0
//
// The smallest coroutine type: it starts at once, belongs to nobody, and frees itself at its end.
#pragma once

#include <coroutine>
#include <exception>

namespace streamgate::testing {

struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

}  // namespace streamgate::testing
