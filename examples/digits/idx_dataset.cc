// SPDX-License-Identifier: Apache-2.0
#include "idx_dataset.h"

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>

namespace digits {
namespace {

// The first four bytes: two zeros, the type of an element (8: unsigned byte), the dimensions.
constexpr std::uint32_t kImagesMagic = 0x00000803;
constexpr std::uint32_t kLabelsMagic = 0x00000801;

std::string hexadecimal(std::uint32_t number) {
  std::ostringstream text;
  text << "0x" << std::hex << std::setw(8) << std::setfill('0') << number;
  return text.str();
}

/// One IDX file in memory, and the errors that speak of it.
class IdxFile {
 public:
  explicit IdxFile(std::filesystem::path path) : path_(std::move(path)) {
    if (!std::filesystem::is_regular_file(path_)) fail("there is no such file");
    std::ifstream stream(path_, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
    if (!stream) fail("it cannot be read");
  }

  /// A header field: a big-endian number of four bytes.
  [[nodiscard]] std::uint32_t field(std::size_t offset, std::string_view name) const {
    if (bytes_.size() < offset + 4) {
      std::ostringstream what;
      what << "it ends at byte " << bytes_.size() << ", inside its header (" << name
           << " is at byte " << offset << ")";
      fail(what.str());
    }
    std::uint32_t number = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      number = number << 8U | static_cast<std::uint8_t>(bytes_[offset + i]);
    }
    return number;
  }

  void expect_field(std::size_t offset, std::string_view name, std::uint32_t expected) const {
    const std::uint32_t found = field(offset, name);
    if (found == expected) return;
    std::ostringstream what;
    what << name << " at byte " << offset << " is " << found << " (" << hexadecimal(found)
         << ") where " << expected << " (" << hexadecimal(expected) << ") is due";
    fail(what.str());
  }

  /// What follows the header: `count` elements of `size` bytes each, no more and no less.
  [[nodiscard]] std::vector<std::uint8_t> elements(std::size_t header, std::uint32_t count,
                                                   std::size_t size) const {
    if (count == 0) fail("its count at byte 4 is 0: it holds no digits");
    // 64 bits: a count of 32 bits times 784 fits.
    const std::uint64_t due = header + std::uint64_t{count} * size;
    if (bytes_.size() != due) {
      std::ostringstream what;
      what << (bytes_.size() < due ? "it is truncated" : "it has bytes to spare") << ": its count "
           << count << " at byte 4 makes " << due << " bytes, and there are " << bytes_.size();
      fail(what.str());
    }
    return {bytes_.begin() + static_cast<std::ptrdiff_t>(header), bytes_.end()};
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw DatasetError(path_.string() + ": " + what +
                       ". Remedy: restore it from the repository's folder examples/data/digits, or "
                       "name another folder of digits");
  }

 private:
  std::filesystem::path path_;
  std::vector<char> bytes_;
};

}  // namespace

Dataset read_dataset(const std::filesystem::path& folder, Split split) {
  const std::string prefix = split == Split::kTraining ? "train" : "test";
  const IdxFile images(folder / (prefix + "-images.idx3-ubyte"));
  const IdxFile labels(folder / (prefix + "-labels.idx1-ubyte"));

  images.expect_field(0, "the magic number", kImagesMagic);
  const std::uint32_t count = images.field(4, "the count");
  images.expect_field(8, "the number of rows", kRows);
  images.expect_field(12, "the number of columns", kColumns);
  labels.expect_field(0, "the magic number", kLabelsMagic);
  labels.expect_field(4, "the count, which is that of the images,", count);

  Dataset dataset{.pixels = images.elements(16, count, kPixels),
                  .labels = labels.elements(8, count, 1)};
  const auto bad = std::find_if(dataset.labels.begin(), dataset.labels.end(),
                                [](std::uint8_t label) { return label >= kClasses; });
  if (bad != dataset.labels.end()) {
    std::ostringstream what;
    what << "the label at byte " << 8 + (bad - dataset.labels.begin()) << " is " << int{*bad}
         << ", and there are only the digits 0 to 9";
    labels.fail(what.str());
  }
  return dataset;
}

}  // namespace digits
