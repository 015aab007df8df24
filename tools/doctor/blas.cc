// SPDX-License-Identifier: Apache-2.0
#include "doctor/blas.h"

#include <streamgate/executor/internal/torch_library.h>

#include <algorithm>
#include <string>

#include "doctor/loaded_libraries.h"

namespace streamgate::tools {
namespace {

namespace fs = std::filesystem;

/// Calls a function of OpenBLAS that takes nothing and returns an int.
std::optional<int> openblas_int(const fs::path& library, const char* function) {
  void* address = function_in(library, function);
  if (address == nullptr) return std::nullopt;
  return reinterpret_cast<int (*)()>(address)();
}

/// OpenBLAS's own numbers for how it was built (openblas_get_parallel).
BlasThreading threading_of(int parallel) {
  switch (parallel) {
    case 0:
      return BlasThreading::kSerial;
    case 1:
      return BlasThreading::kPthread;
    case 2:
      return BlasThreading::kOpenMp;
    default:
      return BlasThreading::kUnknown;
  }
}

}  // namespace

BlasKind blas_kind_of(const fs::path& library) {
  // Debian names the folder after the library, others the file.
  const std::string name = library.filename().string();
  const std::string folder = library.parent_path().filename().string();
  const auto is = [&](std::string_view what) {
    return folder.starts_with(what) || name.starts_with("lib" + std::string(what));
  };
  if (is("openblas")) return BlasKind::kOpenBlas;
  if (is("mkl")) return BlasKind::kMkl;
  if (is("blis")) return BlasKind::kBlis;
  if (is("atlas") || is("tatlas") || is("satlas")) return BlasKind::kAtlas;
  for (const char* framework : {"Accelerate.framework", "vecLib.framework"}) {
    if (library.string().find(framework) != std::string::npos) return BlasKind::kAccelerate;
  }
  // netlib's is the one whose file has no name of its own: /usr/lib/<arch>/blas/libblas.so.3 on
  // Debian, /usr/lib64/libblas.so.3 elsewhere.
  if (name.starts_with("libblas.") || name.starts_with("librefblas.")) return BlasKind::kReference;
  return BlasKind::kUnknown;
}

BlasFacts find_blas() {
  const fs::path library = library_of("sgemm_");
  const fs::path torch = executor::loaded_torch_path();
  // A libtorch with MKL inside does not look at anybody else's sgemm_.
  if (executor::loaded_torch_setting("BLAS_INFO") == "mkl" &&
      blas_kind_of(library) != BlasKind::kMkl) {
    return {.kind = BlasKind::kMkl, .library = torch};
  }
  BlasFacts blas{.kind = blas_kind_of(library), .library = library.empty() ? torch : library};
  // The symbol knows better than the name. It may be in a library that the BLAS depends on; it must
  // not be looked for in the whole process, where liblapack may have brought another OpenBLAS.
  if (const auto parallel = openblas_int(library, "openblas_get_parallel")) {
    blas.kind = BlasKind::kOpenBlas;
    blas.threading = threading_of(*parallel);
    const auto threads = openblas_int(library, "openblas_get_num_threads");
    // With OpenMP the number is that of the calling thread, which the executor sets.
    if (blas.threading == BlasThreading::kPthread && threads && *threads > 0) {
      blas.own_threads = static_cast<std::size_t>(*threads);
    }
  }
  return blas;
}

bool is_openmp_runtime(std::string_view file_name) {
  for (const std::string_view stem : {"libgomp", "libomp", "libiomp5"}) {
    if (file_name.starts_with(stem) && file_name.size() > stem.size() &&
        (file_name[stem.size()] == '.' || file_name[stem.size()] == '-')) {
      return true;
    }
  }
  return false;
}

std::vector<fs::path> find_openmp_runtimes() {
  std::vector<fs::path> runtimes = loaded_libraries();
  std::erase_if(runtimes, [](const fs::path& library) {
    return !is_openmp_runtime(library.filename().string());
  });
  return runtimes;
}

}  // namespace streamgate::tools
