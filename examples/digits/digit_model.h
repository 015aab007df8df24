// SPDX-License-Identifier: Apache-2.0
//
// The model: a small convolutional net, its training, and the TorchScript file that it leaves. How
// it is served is the business of ways.h. Free of libtorch's headers, which cost the compiler a
// quarter of a minute wherever they are included.
#pragma once

#include "idx_dataset.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

namespace digits {

struct TrainingOptions {
  std::size_t epochs = 8;
  std::size_t batch = 50;
  double learning_rate = 3e-3;
  std::uint64_t seed = 1;
};

/// Where a training stands, after each batch. Counts begin at 1.
struct TrainingProgress {
  std::size_t epoch = 0;
  std::size_t epochs = 0;
  std::size_t batch = 0;
  std::size_t batches = 0;  ///< In one epoch.
  double loss = 0.0;        ///< Mean over the epoch so far.
};

struct TrainingReport {
  double loss = 0.0;  ///< Mean over the last epoch.
  std::chrono::nanoseconds duration{0};
  /// What the trained net itself, before any file, says of each digit of the test set.
  std::vector<std::int64_t> answers;
};

/// Trains the net on this thread, with libtorch's intra-op threads as they stand, and saves it as
/// TorchScript. The same seed, libtorch and number of intra-op threads give the same weights.
/// Throws std::runtime_error when the file cannot be written. REQUIRES: epochs and batch are
/// positive.
[[nodiscard]] TrainingReport train_and_save(
    const Dataset& training, const Dataset& test, const TrainingOptions& options,
    const std::filesystem::path& model_file,
    const std::function<void(const TrainingProgress&)>& on_progress);

}  // namespace digits
