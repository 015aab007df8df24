// SPDX-License-Identifier: Apache-2.0
//
// Each thing that can be wrong, one at a time, on top of a report with which nothing is.
#include "doctor/diagnose.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "../support/messages.h"

namespace streamgate::tools {
namespace {

using testing::contains;

Report healthy() {
  Report report{.version = "0.1.0", .backends = {"cpu"}};
  report.libtorch = {.version = "2.6.0", .header_version = "2.6.0", .path = "/lib/libtorch_cpu.so"};
  report.blas = {.kind = BlasKind::kOpenBlas,
                 .threading = BlasThreading::kOpenMp,
                 .library = "/usr/lib/aarch64-linux-gnu/openblas-openmp/libblas.so.3"};
  report.openmp_runtimes = {"/lib/libgomp.so.1"};
  report.machine = {.cores = 4, .usable_cores = 4};
  report.workers = {.available_bytes = std::size_t{1} << 30, .max_descriptors = 1'024};
  report.operation = {.per_second = 15'000};
  report.effective = policies::Config{};
  report.effective->executor.threads = 4;
  report.effective->executor.intra_op_threads = 1;
  return report;
}

/// The one finding; fails the test when there is none or more.
Finding only(const Report& report) {
  const std::vector<Finding> findings = diagnose(report);
  EXPECT_EQ(findings.size(), 1U);
  if (findings.empty()) return {};
  EXPECT_FALSE(findings[0].remedy.empty());
  return findings[0];
}

TEST(Diagnose, NothingIsWrongWithAHealthyReport) {
  EXPECT_TRUE(diagnose(healthy()).empty());
  EXPECT_EQ(exit_code_of({}), kFine);
}

TEST(Diagnose, AnotherVersionThanTheHeadersIsAWarning) {
  Report report = healthy();
  report.libtorch.version = "2.7.1";
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "libtorch_headers_differ");
  EXPECT_TRUE(contains(finding.what, "2.6.0")) << finding.what;
  EXPECT_TRUE(contains(finding.what, "2.7.1")) << finding.what;
  EXPECT_EQ(exit_code_of({finding}), kWarnings);
}

TEST(Diagnose, APackagersSuffixIsNoOtherVersion) {
  Report report = healthy();
  report.libtorch.version = "2.6.0+cpu";
  EXPECT_TRUE(diagnose(report).empty());
  report.libtorch.version = "2.6.0 (of the headers)";
  EXPECT_TRUE(diagnose(report).empty());
}

TEST(Diagnose, EverySecondLibtorchIsNamedBesideTheOneInUse) {
  Report report = healthy();
  report.libtorch.other_paths = {"/a/libtorch_cpu.so", "/b/libtorch_cpu.so"};
  const std::vector<Finding> findings = diagnose(report);
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_TRUE(contains(findings[1].what, "/b/libtorch_cpu.so"));
  EXPECT_TRUE(contains(findings[1].what, "/lib/libtorch_cpu.so"));
}

TEST(Diagnose, TheReferenceBlasIsAWarningWithTheRemedyOfThisArchitecture) {
  Report report = healthy();
  report.blas = {.kind = BlasKind::kReference,
                 .library = "/usr/lib/aarch64-linux-gnu/blas/libblas.so.3.11.0"};
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "reference_blas");
  EXPECT_TRUE(contains(finding.remedy, "--config libblas.so.3-aarch64-linux-gnu"));
}

TEST(Diagnose, ThreadsOfTheBlasAreAWarningOnlyWhereTheyMultiply) {
  Report report = healthy();
  report.blas.threading = BlasThreading::kPthread;
  report.blas.own_threads = 4;
  EXPECT_EQ(only(report).id, "blas_own_threads");
  EXPECT_TRUE(contains(only(report).remedy, "OPENBLAS_NUM_THREADS=1"));
  report.blas.own_threads = 1;
  EXPECT_TRUE(diagnose(report).empty());
  report.blas.own_threads = 4;
  report.effective->executor.threads = 1;
  report.effective->executor.intra_op_threads = 4;
  EXPECT_TRUE(diagnose(report).empty());
}

TEST(Diagnose, TwoOpenMpRuntimesAreAWarning) {
  Report report = healthy();
  report.openmp_runtimes.emplace_back("/lib/libomp.so.5");
  EXPECT_EQ(only(report).id, "two_openmp_runtimes");
}

TEST(Diagnose, AQuotaBelowTheThreadsIsAWarning) {
  Report report = healthy();
  report.machine.cpu_quota_cores = 2.5;
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "cpu_quota");
  EXPECT_TRUE(contains(finding.what, "2.5 cores")) << finding.what;
  EXPECT_TRUE(contains(finding.remedy, "executor.threads = 2 ")) << finding.remedy;
  report.machine.cpu_quota_cores = 0.5;
  EXPECT_TRUE(contains(only(report).remedy, "executor.threads = 1 "));
  report.machine.cpu_quota_cores = 4.0;
  EXPECT_TRUE(diagnose(report).empty());
}

TEST(Diagnose, MoreIntraOpThreadsThanCoresAreAWarning) {
  Report report = healthy();
  report.effective->executor.intra_op_threads = 2;
  EXPECT_EQ(only(report).id, "oversubscribed");
  // With one intra-op thread more threads than cores cost nothing (facts.md 3).
  report.effective->executor.intra_op_threads = 1;
  report.effective->executor.threads = 16;
  EXPECT_TRUE(diagnose(report).empty());
}

TEST(Diagnose, ALibtorchThatCannotRunIsUnusable) {
  Report report = healthy();
  report.operation = {.error = "out of order"};
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "operation_failed");
  EXPECT_TRUE(contains(finding.what, "out of order"));
  EXPECT_EQ(exit_code_of({finding}), kUnusable);
}

TEST(Diagnose, SpeedIsJudgedOnlyWhereItIsAbsurd) {
  Report report = healthy();
  report.operation.per_second = 569;  // The reference BLAS: that is another finding's business.
  EXPECT_TRUE(diagnose(report).empty());
  report.operation.per_second = 3;
  EXPECT_EQ(only(report).id, "operation_slow");
}

TEST(Diagnose, EveryErrorOfTheConfigIsAFindingAndErrorsComeFirst) {
  Report report = healthy();
  report.openmp_runtimes.emplace_back("/lib/libomp.so.5");
  report.operation = {.error = "out of order"};
  report.config = {.file = "a.toml", .errors = {"a.toml:1: one", "a.toml:2: two"}};
  report.effective.reset();
  const std::vector<Finding> findings = diagnose(report);
  ASSERT_EQ(findings.size(), 4U);
  EXPECT_EQ(findings[0].what, "a.toml:1: one");
  EXPECT_EQ(findings[1].what, "a.toml:2: two");
  EXPECT_EQ(findings[3].severity, Severity::kWarning);
  EXPECT_EQ(exit_code_of(findings), kUnusable);
}

TEST(Diagnose, NoLimitsAreAWarningOnlyWhereTheyMatter) {
  Report report = healthy();
  EXPECT_TRUE(diagnose(report).empty()) << "the CPU needs none";
  report.device.provenance.backend = "mps";
  report.limits.used.needed = true;
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "limits_missing");
  EXPECT_TRUE(contains(finding.remedy, "streamgate probe --backend mps --out ")) << finding.remedy;
  EXPECT_EQ(exit_code_of({finding}), kWarnings);
  report.limits.used.state = executor::LimitsState::kUsed;
  EXPECT_TRUE(diagnose(report).empty());
}

TEST(Diagnose, LimitsOfAnotherPlaceAreAWarningWithAllThatDiffers) {
  Report report = healthy();
  report.limits.used = {.state = executor::LimitsState::kMismatch,
                        .file = "l.toml",
                        .differences = {"device M4 there, M1 here", "os a there, b here"}};
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "limits_mismatch");
  EXPECT_TRUE(contains(finding.what, "l.toml")) << finding.what;
  EXPECT_TRUE(contains(finding.what, "device M4 there, M1 here; os a there, b here"));
  EXPECT_EQ(exit_code_of({finding}), kWarnings);
}

TEST(Diagnose, LimitsThatCannotBeUsedAreOneErrorEach) {
  Report report = healthy();
  report.effective.reset();
  report.limits = {.used = {.file = "l.toml", .needed = true},
                   .errors = {"l.toml:1: one", "l.toml:2: two"}};
  const std::vector<Finding> findings = diagnose(report);
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_EQ(findings[0].id, "limits_unusable");
  EXPECT_EQ(findings[0].what, "l.toml:1: one");
  EXPECT_EQ(findings[1].what, "l.toml:2: two");
  EXPECT_EQ(exit_code_of(findings), kUnusable);
}

TEST(Diagnose, ABackendThatCannotStartIsUnusable) {
  Report report = healthy();
  report.effective.reset();
  report.executor_error = "no device";
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "executor_failed");
  EXPECT_EQ(finding.severity, Severity::kError);
}

TEST(Diagnose, WorkersThatCannotBeHadAreAWarningIfTheyAreAskedFor) {
  Report report = healthy();
  report.workers = {.error = "pidfd_open: Operation not permitted"};
  EXPECT_TRUE(diagnose(report).empty()) << "nobody asked for any";
  report.effective->overflow.workers = 4;
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "workers_unavailable");
  EXPECT_TRUE(contains(finding.what, "pidfd_open: Operation not permitted")) << finding.what;
  report.effective->overflow.policy = "never";
  EXPECT_TRUE(diagnose(report).empty());
}

TEST(Diagnose, WorkersThatTakeMoreMemoryThanThereIsAreAWarning) {
  Report report = healthy();
  report.effective->overflow.workers = 8;
  report.effective->overflow.arena_bytes = std::size_t{64} << 20;
  EXPECT_TRUE(diagnose(report).empty()) << "8 x 128 MiB is just there";
  report.effective->overflow.workers = 9;
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "workers_memory");
  EXPECT_TRUE(contains(finding.what, "1152 MiB")) << finding.what;
}

TEST(Diagnose, WorkersOnCudaWithoutTheMultiProcessDaemonAreAWarning) {
  Report report = healthy();
  report.effective->overflow.workers = 4;
  EXPECT_TRUE(diagnose(report).empty()) << "on another device it is not needed";
  report.effective->executor.backend = "cuda";
  const Finding finding = only(report);
  EXPECT_EQ(finding.id, "workers_take_turns");
  EXPECT_TRUE(contains(finding.remedy, "nvidia-cuda-mps-control -d")) << finding.remedy;
  report.workers.cuda_daemon = true;
  EXPECT_TRUE(diagnose(report).empty());
}

TEST(Diagnose, WorkersThatTakeMoreDescriptorsThanAProcessMayHaveAreAWarning) {
  Report report = healthy();
  report.effective->overflow.workers = 8;
  report.workers.max_descriptors = 80;
  EXPECT_EQ(only(report).id, "workers_descriptors");
}

}  // namespace
}  // namespace streamgate::tools
