// SPDX-License-Identifier: Apache-2.0
#include "probe/output_files.h"

#include <streamgate/executor/probe/reproducer.h>

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <system_error>

namespace streamgate::tools {
namespace {

namespace fs = std::filesystem;
namespace probe = executor::probe;

/// By doing it: permissions, read-only file systems and full ones all say no in ways of their own.
void check_new_file_in(const fs::path& folder, const fs::path& wanted) {
  std::string name = (folder / ".streamgate-probe-XXXXXX").string();
  const int descriptor = mkstemp(name.data());
  if (descriptor < 0) {
    throw std::runtime_error("cannot write " + wanted.string() + ": " +
                             std::generic_category().message(errno) +
                             ". Name a file in a folder that exists and that you may write to");
  }
  close(descriptor);
  unlink(name.c_str());
}

void write_file(const fs::path& file, const std::string& text) {
  if (!(std::ofstream(file, std::ios::binary) << text << std::flush)) {
    throw std::runtime_error("cannot write " + file.string());
  }
}

/// With the fewest threads; of those the first.
const probe::Failure* smallest(const probe::ProbeReport& report) {
  const probe::Failure* least = nullptr;
  std::size_t least_threads = 0;
  const auto look = [&](const std::vector<probe::Failure>& evidence) {
    for (const probe::Failure& failure : evidence) {
      std::size_t threads = 0;
      for (const probe::Party& party : failure.parties) threads += party.width;
      if (least != nullptr && threads >= least_threads) continue;
      least = &failure;
      least_threads = threads;
    }
  };
  for (const probe::ClassReport& measured : report.classes) look(measured.evidence);
  for (const probe::PairReport& pair : report.pairs) look(pair.evidence);
  return least;
}

}  // namespace

void check_writable(const fs::path& file) {
  std::error_code ignored;
  if (fs::is_directory(file, ignored)) {
    throw std::runtime_error("cannot write " + file.string() + ": it is a folder. Name a file");
  }
  check_new_file_in(file.has_parent_path() ? file.parent_path() : ".", file);
}

void check_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder)) {
    throw std::runtime_error("cannot make the folder " + folder.string() +
                             (error ? ": " + error.message() : ": it is a file"));
  }
  check_new_file_in(folder, folder / "reproducer.cc");
}

std::string write_reproducer(const probe::WorkloadOptions& workload,
                             const probe::ProbeReport& report, const fs::path& folder) {
  const probe::Failure* failure = smallest(report);
  if (failure == nullptr) return "nothing failed: no reproducer to write";
  const std::optional<probe::Reproducer> reproducer =
      probe::reproducer_of(workload, *failure, report.limits.provenance);
  if (!reproducer) return "there is no reproducer for the backend " + workload.backend;
  write_file(folder / "reproducer.cc", reproducer->program);
  write_file(folder / "README.md", reproducer->instructions);
  return "wrote " + (folder / "reproducer.cc").string() + " and how to run it";
}

}  // namespace streamgate::tools
