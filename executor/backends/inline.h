// SPDX-License-Identifier: Apache-2.0
//
// The backend without a device and without libtorch: work is done when the callable returns. It is
// what the executor's core is tested and measured with, also under ThreadSanitizer.
#pragma once

#include <streamgate/executor/backends/backend.h>

#include <memory>

namespace streamgate::executor {

[[nodiscard]] std::unique_ptr<Backend> make_inline_backend();

}  // namespace streamgate::executor
