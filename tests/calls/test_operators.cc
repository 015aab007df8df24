// SPDX-License-Identifier: Apache-2.0
#include "test_operators.h"

#include <ATen/ATen.h>
#include <torch/library.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace streamgate::testing {
namespace {

bool is_worker = false;

void note(const std::string& file) {
  // One write of one byte, appended: whole, whatever becomes of the process next.
  std::ofstream(file, std::ios::binary | std::ios::app) << '.';
}

void die(int signal) {
  if (!is_worker) throw std::runtime_error("this is no worker");
  raise(signal);
}

std::int64_t process_id(const at::Tensor&) { return getpid(); }

at::Tensor noted(const at::Tensor& x, const std::string& file) {
  note(file);
  return x + 1;
}

at::Tensor deadly(const at::Tensor&, const std::string& file, std::int64_t signal) {
  note(file);
  die(static_cast<int>(signal));
  throw std::runtime_error("it survived");
}

/// Dies in its first run only.
at::Tensor deadly_once(const at::Tensor& x, const std::string& file) {
  note(file);
  if (notes_in(file) == 1) die(SIGKILL);
  return x + 1;
}

/// Runs until the file `file`.go is there.
at::Tensor waiting(const at::Tensor& x, const std::string& file) {
  note(file);
  while (!std::filesystem::exists(file + ".go")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return x + 1;
}

}  // namespace

void this_is_a_worker() noexcept { is_worker = true; }

std::size_t notes_in(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  return static_cast<std::size_t>(
      std::distance(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()));
}

TORCH_LIBRARY(streamgate_tests, library) {
  library.def("process_id(Tensor x) -> int", &process_id);
  library.def("noted(Tensor x, str file) -> Tensor", &noted);
  library.def("deadly(Tensor x, str file, int signal) -> Tensor", &deadly);
  library.def("deadly_once(Tensor x, str file) -> Tensor", &deadly_once);
  library.def("waiting(Tensor x, str file) -> Tensor", &waiting);
}

}  // namespace streamgate::testing
