// SPDX-License-Identifier: Apache-2.0
#include "idx_dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "temporary_folder.h"

namespace digits {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string big_endian(std::uint32_t number) {
  std::string bytes;
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    bytes.push_back(static_cast<char>(number >> shift & 0xffU));
  }
  return bytes;
}

/// A folder with a training set of two digits, each file of which a test may spoil.
class IdxDataset : public ::testing::Test {
 protected:
  IdxDataset() {
    write(kImages, header({0x803, 2, 28, 28}) + std::string(2 * kPixels, '\x07'));
    write(kLabels, header({0x801, 2}) + std::string("\x03\x09", 2));
  }

  static std::string header(const std::vector<std::uint32_t>& fields) {
    std::string bytes;
    for (const std::uint32_t field : fields) bytes += big_endian(field);
    return bytes;
  }
  void write(const char* name, const std::string& bytes) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << bytes;
  }
  [[nodiscard]] std::string error() const {
    try {
      (void)read_dataset(folder_.path(), Split::kTraining);
    } catch (const DatasetError& error) {
      return error.what();
    }
    return "no error";
  }

  static constexpr const char* kImages = "train-images.idx3-ubyte";
  static constexpr const char* kLabels = "train-labels.idx1-ubyte";
  TemporaryFolder folder_;
};

TEST_F(IdxDataset, ReadsPixelsAndLabels) {
  const Dataset dataset = read_dataset(folder_.path(), Split::kTraining);
  EXPECT_EQ(dataset.size(), 2U);
  EXPECT_EQ(dataset.pixels, std::vector<std::uint8_t>(2 * kPixels, 7));
  EXPECT_EQ(dataset.labels, (std::vector<std::uint8_t>{3, 9}));
}

TEST_F(IdxDataset, ReadsTheDigitsOfTheRepository) {
  const std::filesystem::path folder(STREAMGATE_SOURCE_DIR "/examples/data/digits");
  EXPECT_EQ(read_dataset(folder, Split::kTraining).size(), 4000U);
  EXPECT_EQ(read_dataset(folder, Split::kTest).size(), 1000U);
}

TEST_F(IdxDataset, EveryErrorNamesFileAndRemedy) {
  write(kLabels, "");
  EXPECT_THAT(error(),
              AllOf(HasSubstr((folder_.path() / kLabels).string()), HasSubstr("Remedy: ")));
}

TEST_F(IdxDataset, AMissingFileIsAnError) {
  std::filesystem::remove(folder_.path() / kImages);
  EXPECT_THAT(error(), AllOf(HasSubstr(kImages), HasSubstr("there is no such file")));
}

TEST_F(IdxDataset, AFolderInPlaceOfAFileIsAnError) {
  std::filesystem::remove(folder_.path() / kImages);
  std::filesystem::create_directory(folder_.path() / kImages);
  EXPECT_THAT(error(), HasSubstr("there is no such file"));
}

TEST_F(IdxDataset, ABadMagicNumberIsAnError) {
  // 0x0d: elements of four bytes.
  write(kImages, header({0xd03, 2, 28, 28}) + std::string(2 * kPixels, 0));
  EXPECT_THAT(error(), AllOf(HasSubstr(kImages), HasSubstr("the magic number at byte 0 is"),
                             HasSubstr("0x00000d03"), HasSubstr("0x00000803")));
}

TEST_F(IdxDataset, LabelsInPlaceOfImagesAreAnError) {
  write(kImages, header({0x801, 2}) + std::string(8 + 2 * kPixels, 0));
  EXPECT_THAT(error(), AllOf(HasSubstr(kImages), HasSubstr("0x00000801")));
}

TEST_F(IdxDataset, AHeaderThatEndsEarlyIsAnErrorAtEveryLength) {
  const std::string whole = header({0x803, 2, 28, 28});
  for (std::size_t length = 0; length < whole.size(); ++length) {
    write(kImages, whole.substr(0, length));
    EXPECT_THAT(error(), HasSubstr("it ends at byte " + std::to_string(length))) << length;
  }
}

TEST_F(IdxDataset, TruncatedPixelsAreAnError) {
  write(kImages, header({0x803, 2, 28, 28}) + std::string(2 * kPixels - 1, 0));
  EXPECT_THAT(error(), AllOf(HasSubstr("it is truncated"), HasSubstr("makes 1584 bytes"),
                             HasSubstr("there are 1583")));
}

TEST_F(IdxDataset, BytesBehindTheLastDigitAreAnError) {
  write(kImages, header({0x803, 2, 28, 28}) + std::string(2 * kPixels + 1, 0));
  EXPECT_THAT(error(), HasSubstr("it has bytes to spare"));
}

TEST_F(IdxDataset, ACountThatFarExceedsTheFileIsAnErrorAndAllocatesNothing) {
  write(kImages, header({0x803, 0xffffffff, 28, 28}));
  write(kLabels, header({0x801, 0xffffffff}));
  EXPECT_THAT(error(), AllOf(HasSubstr(kImages), HasSubstr("it is truncated"),
                             HasSubstr("makes 3367254359296 bytes")));
}

TEST_F(IdxDataset, NoDigitsAreAnError) {
  write(kImages, header({0x803, 0, 28, 28}));
  write(kLabels, header({0x801, 0}));
  EXPECT_THAT(error(), HasSubstr("it holds no digits"));
}

TEST_F(IdxDataset, ImagesOfAnotherSizeAreAnError) {
  write(kImages, header({0x803, 2, 32, 28}) + std::string(2 * 32 * 28, 0));
  EXPECT_THAT(error(), AllOf(HasSubstr("the number of rows at byte 8 is 32"), HasSubstr("28")));
  write(kImages, header({0x803, 2, 28, 32}) + std::string(2 * 28 * 32, 0));
  EXPECT_THAT(error(), HasSubstr("the number of columns at byte 12 is 32"));
}

TEST_F(IdxDataset, ACountOfLabelsThatIsNotThatOfImagesIsAnError) {
  write(kLabels, header({0x801, 3}) + std::string(3, 0));
  EXPECT_THAT(error(),
              AllOf(HasSubstr(kLabels), HasSubstr("at byte 4 is 3"), HasSubstr("where 2")));
}

TEST_F(IdxDataset, TruncatedLabelsAreAnError) {
  write(kLabels, header({0x801, 2}) + std::string(1, 0));
  EXPECT_THAT(error(), AllOf(HasSubstr(kLabels), HasSubstr("it is truncated")));
}

TEST_F(IdxDataset, ALabelThatIsNoDigitIsAnError) {
  write(kLabels, header({0x801, 2}) + std::string("\x03\x0a", 2));
  EXPECT_THAT(error(), AllOf(HasSubstr(kLabels), HasSubstr("the label at byte 9 is 10")));
}

}  // namespace
}  // namespace digits
