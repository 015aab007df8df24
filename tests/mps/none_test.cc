// SPDX-License-Identifier: Apache-2.0
//
// The MPS backend where libtorch has no MPS.
#include <streamgate/executor.h>
#include <streamgate/executor/backends/mps.h>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace streamgate::executor {
namespace {

TEST(MpsBackendOfTierNone, NamesItsTier) {
  EXPECT_EQ(mps_tier(), MpsTier::kNone);
  EXPECT_EQ(to_string(mps_tier()), "none");
  EXPECT_NE(make_mps_backend({})->provenance().device.find("MPS streams: none"), std::string::npos);
}

TEST(MpsBackendOfTierNone, IsAClearError) {
  try {
    const Executor executor(ExecutorOptions{.backend = make_mps_backend({})});
    ADD_FAILURE() << "an executor without a device was made";
  } catch (const std::runtime_error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("without MPS"), std::string::npos) << text;
    EXPECT_NE(text.find("Remedy: "), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace streamgate::executor
