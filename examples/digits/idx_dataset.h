// SPDX-License-Identifier: Apache-2.0
//
// Reads handwritten digits from the two IDX files of MNIST's format (one of images, one of labels).
// It checks everything that it relies on, since files are not to be trusted, and knows nothing of
// tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <vector>

namespace digits {

inline constexpr std::size_t kRows = 28;
inline constexpr std::size_t kColumns = 28;
inline constexpr std::size_t kPixels = kRows * kColumns;
inline constexpr std::size_t kClasses = 10;

/// Digits in the order of their files. A plain value.
struct Dataset {
  std::vector<std::uint8_t> pixels;  ///< [digit][row][column], 0 is paper and 255 is ink.
  std::vector<std::uint8_t> labels;  ///< [digit], 0 to 9.

  [[nodiscard]] std::size_t size() const noexcept { return labels.size(); }
};

enum class Split : std::uint8_t { kTraining, kTest };

/// A file that cannot be used. what() names the file, what is wrong, at which byte, and the remedy.
class DatasetError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads `train-images.idx3-ubyte` and `train-labels.idx1-ubyte` of a folder, or `test-...`.
/// ENSURES: at least one digit; kPixels pixels and one label below kClasses for each.
/// Throws DatasetError. Blocks while it reads.
[[nodiscard]] Dataset read_dataset(const std::filesystem::path& folder, Split split);

}  // namespace digits
