// SPDX-License-Identifier: Apache-2.0
//
// Memory that this process shares with a child of its own, without a name that anybody else could
// open. The one place that knows how each system makes it.
#pragma once

#include <cstddef>

namespace streamgate::executor::probe {

/// A descriptor of `size` zero bytes, closed on exec. Throws std::system_error.
[[nodiscard]] int make_shared(std::size_t size);

/// Maps them. Throws std::system_error, also when there are fewer.
[[nodiscard]] void* map_shared(int descriptor, std::size_t size);

void unmap_shared(void* memory, std::size_t size) noexcept;

}  // namespace streamgate::executor::probe
