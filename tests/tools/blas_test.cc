// SPDX-License-Identifier: Apache-2.0
//
// BLAS and OpenMP by the names of their files, as distributions install them.
#include "doctor/blas.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace streamgate::tools {
namespace {

TEST(Blas, IsKnownByItsFile) {
  const std::vector<std::pair<const char*, BlasKind>> files = {
      {"/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0", BlasKind::kReference},
      {"/usr/lib64/libblas.so.3.12.0", BlasKind::kReference},
      {"/home/establish/lib/libblas.so.3", BlasKind::kReference},
      {"/usr/lib/x86_64-linux-gnu/openblas-openmp/libblas.so.3", BlasKind::kOpenBlas},
      {"/usr/lib/aarch64-linux-gnu/openblas-pthread/libopenblasp-r0.3.21.so", BlasKind::kOpenBlas},
      {"/opt/torch/lib/libopenblas.so.0", BlasKind::kOpenBlas},
      {"/opt/intel/oneapi/mkl/latest/lib/libmkl_rt.so.2", BlasKind::kMkl},
      {"/usr/lib/x86_64-linux-gnu/blis-openmp/libblas.so.3", BlasKind::kBlis},
      {"/usr/lib/x86_64-linux-gnu/atlas/libblas.so.3.10.3", BlasKind::kAtlas},
      {"/usr/lib64/atlas/libtatlas.so.3", BlasKind::kAtlas},
      {"/System/Library/Frameworks/Accelerate.framework/Versions/A/Frameworks/vecLib.framework/"
       "Versions/A/libBLAS.dylib",
       BlasKind::kAccelerate},
      {"/usr/lib/libflexiblas.so.3", BlasKind::kUnknown},
      {"", BlasKind::kUnknown}};
  for (const auto& [file, kind] : files) {
    EXPECT_EQ(to_string(blas_kind_of(file)), to_string(kind)) << file;
  }
}

TEST(OpenMp, RuntimesAreKnownByTheirFiles) {
  for (const char* name : {"libgomp.so.1", "libgomp.so.1.0.0", "libgomp-a34b3233.so.1",
                           "libomp.so.5", "libomp.dylib", "libiomp5.so"}) {
    EXPECT_TRUE(is_openmp_runtime(name)) << name;
  }
  for (const char* name : {"libompi.so", "libomptarget.so.14", "libgomp", "libm.so.6", ""}) {
    EXPECT_FALSE(is_openmp_runtime(name)) << name;
  }
}

}  // namespace
}  // namespace streamgate::tools
