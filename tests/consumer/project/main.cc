// SPDX-License-Identifier: Apache-2.0
//
// A service in the smallest: one task of libtorch work and one scrape. It exists to be compiled and
// linked as a user would; what the library does has tests of its own.
#include <ATen/ATen.h>
#include <streamgate/executor.h>
#include <streamgate/metrics.h>
#include <streamgate/metrics/collector.h>

#include <chrono>
#include <cstdio>

int main() {
  streamgate::Executor executor;
  streamgate::metrics::Collector collector;
  collector.add("consumer", executor);

  auto submitted = executor.submit([] { return at::ones({2, 2}).sum().item<float>(); });
  const auto ran = executor.run([] { return at::ones({3}).sum().item<float>(); });
  const float sum = submitted.get().value() + ran.value();
  const std::size_t families = collector.Collect().size();
  std::printf("sum %g, %zu metric families\n", static_cast<double>(sum), families);

  collector.remove("consumer");
  const auto report = executor.drain(streamgate::Drain::kFinish, std::chrono::seconds(10));
  return sum == 7.0F && families > 0 && report.drained ? 0 : 1;
}
