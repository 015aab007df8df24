// SPDX-License-Identifier: Apache-2.0
//
// By the seam that libtorch's profiler has in every allocator (c10/core/Allocator.h,
// MemoryReportingInfoBase), which is of the thread.
#include <streamgate/executor/internal/memory_meter.h>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace streamgate::executor {
namespace {

// The sums that come along, of which nobody here has need, are of another type in later versions.
template <typename Function>
struct SumOf;
template <typename Reporter, typename Sum>
struct SumOf<void (Reporter::*)(void*, std::int64_t, Sum, Sum, c10::Device)> {
  using Type = Sum;
};
using Sum = SumOf<decltype(&c10::MemoryReportingInfoBase::reportMemoryUsage)>::Type;

class Meter final : public c10::MemoryReportingInfoBase {
 public:
  Meter(c10::DeviceType type, int index) : type_(type), index_(index) {}

  void reportMemoryUsage(void*, std::int64_t change, Sum, Sum, c10::Device device) override {
    if (device.type() != type_ || (device.has_index() && device.index() != index_)) return;
    // Below zero while it gives back what was there before; that makes no room for others, though.
    now_ += change;
    most_ = std::max(most_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  [[nodiscard]] std::size_t most() const { return static_cast<std::size_t>(most_); }

 private:
  c10::DeviceType type_;
  int index_;
  std::int64_t now_ = 0;
  std::int64_t most_ = 0;
};

struct Measuring {
  std::shared_ptr<Meter> meter;  // Shared with libtorch's state of this thread.
  std::optional<c10::DebugInfoGuard> guard;
};
thread_local Measuring measuring;

}  // namespace

bool start_memory_meter(int device_type, int index) noexcept {
  constexpr auto kKind = c10::DebugInfoKind::PROFILER_STATE;
  // A profiler takes what it finds here for its own kind.
  if (c10::ThreadLocalDebugInfo::get(kKind) != nullptr) return false;
  try {
    measuring.meter = std::make_shared<Meter>(static_cast<c10::DeviceType>(device_type), index);
    measuring.guard.emplace(kKind, measuring.meter);
    return true;
  } catch (const std::exception&) {
    measuring.meter.reset();
    return false;
  }
}

std::size_t end_memory_meter() noexcept {
  measuring.guard.reset();
  return std::exchange(measuring.meter, nullptr)->most();
}

}  // namespace streamgate::executor
