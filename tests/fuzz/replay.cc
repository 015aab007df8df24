// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target without a fuzzer, with any compiler: over every file of the folders that it is
// given, and then over random changes of them for some seconds. It finds less than libFuzzer, which
// sees what an input reaches; it keeps a target from rotting and what was found once from coming
// back.
//   replay SECONDS FOLDER...      STREAMGATE_FUZZ_SEED in the environment repeats a run
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;
using Random = std::mt19937_64;

constexpr std::size_t kLongest = 4096;

std::vector<Bytes> read(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry);
  std::sort(files.begin(), files.end());  // So that a seed of the random numbers means the same.
  std::vector<Bytes> all;
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    all.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return all;
}

std::size_t place_in(const Bytes& bytes, Random& random) {
  return bytes.empty() ? 0 : random() % bytes.size();
}

/// One small change, of the kinds that find most: bits, numbers at the edges, parts that move.
void change(Bytes& bytes, const std::vector<Bytes>& seeds, Random& random) {
  static constexpr std::array<std::uint64_t, 9> kEdges = {
      0, 1, 0x7f, 0x80, 0xff, 0x7fff'ffff, 0xffff'ffff, 0x7fff'ffff'ffff'ffff, ~std::uint64_t{0}};
  const std::size_t at = place_in(bytes, random);
  const std::size_t left = bytes.size() - at;
  switch (random() % 6) {
    case 0:
      if (!bytes.empty()) bytes[at] ^= static_cast<std::uint8_t>(1U << random() % 8);
      break;
    case 1:
      if (!bytes.empty()) bytes[at] = static_cast<std::uint8_t>(random());
      break;
    case 2: {
      const std::uint64_t edge = kEdges[random() % kEdges.size()];
      const std::size_t size = std::size_t{1} << random() % 4;
      if (left >= size) std::memcpy(bytes.data() + at, &edge, size);
      break;
    }
    case 3:
      bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                  bytes.begin() + static_cast<std::ptrdiff_t>(at + std::min(left, random() % 16)));
      break;
    case 4:
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), random() % 16,
                   static_cast<std::uint8_t>(random()));
      break;
    default: {
      const Bytes& other = seeds[random() % seeds.size()];
      const std::size_t from = place_in(other, random);
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                   other.begin() + static_cast<std::ptrdiff_t>(from),
                   other.begin() + static_cast<std::ptrdiff_t>(
                                       from + std::min(other.size() - from, random() % 64)));
    }
  }
  if (bytes.size() > kLongest) bytes.resize(kLongest);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s SECONDS FOLDER...\n", argv[0]);
    return 2;
  }
  std::vector<Bytes> seeds;
  for (int i = 2; i < argc; ++i) {
    for (Bytes& seed : read(argv[i])) seeds.push_back(std::move(seed));
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "there are no seeds\n");
    return 2;
  }
  for (const Bytes& seed : seeds) LLVMFuzzerTestOneInput(seed.data(), seed.size());

  const char* const text = std::getenv("STREAMGATE_FUZZ_SEED");
  const std::uint64_t number = text != nullptr ? std::stoull(text) : std::random_device{}();
  std::printf("STREAMGATE_FUZZ_SEED=%llu\n", static_cast<unsigned long long>(number));
  std::fflush(stdout);  // It is to be known, whatever happens next.
  Random random(number);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[1]));
  std::uint64_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    Bytes bytes = seeds[random() % seeds.size()];
    for (std::size_t changes = 1 + random() % 8; changes > 0; --changes) {
      change(bytes, seeds, random);
    }
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%zu seeds, %llu changes of them\n", seeds.size(),
              static_cast<unsigned long long>(runs));
}
