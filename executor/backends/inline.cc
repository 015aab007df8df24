// SPDX-License-Identifier: Apache-2.0
//
// Nothing to open, nothing to wait for.
#include <streamgate/executor/backends/inline.h>

#include <streamgate/executor/internal/machine_memory.h>
#include <streamgate/executor/stream_pool.h>

#include <optional>

namespace streamgate::executor {
namespace {

class InlineBackend final : public Backend {
 public:
  std::string_view name() const noexcept override { return "inline"; }
  void initialise(std::size_t) override {}
  Provenance provenance() const override { return {.backend = "inline"}; }
  std::size_t max_streams() const noexcept override { return StreamPool::kMaxSlots; }
  policies::OpClassSet default_class() const noexcept override { return policies::OpClass::kRaw; }
  bool shares_cores() const noexcept override { return true; }
  std::optional<DeviceMemory> memory() const noexcept override { return machine_.now(); }
  void bind_worker() noexcept override {}
  void unbind_worker() noexcept override {}
  void open_stream(StreamIndex) override {}
  void enter(StreamIndex, Thread) noexcept override {}
  void leave(StreamIndex, Thread) noexcept override {}
  Progress notify_when_done(StreamIndex, StreamDone&) noexcept override { return Progress::kDone; }
  bool synchronize(StreamIndex, std::chrono::steady_clock::time_point) noexcept override {
    return true;
  }

 private:
  const MachineMemory machine_;
};

}  // namespace

std::unique_ptr<Backend> make_inline_backend() { return std::make_unique<InlineBackend>(); }

}  // namespace streamgate::executor
