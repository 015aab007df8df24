// SPDX-License-Identifier: Apache-2.0
//
// libtorch's MPS interface over the emulated Metal: what every tier has. The pools are in pool.cc.
#include <ATen/detail/MPSHooksInterface.h>
#include <ATen/mps/MPSStream.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "libtorch.h"

namespace streamgate::testing::stand_in {
namespace {

std::atomic<std::size_t> commits{0};
std::atomic<std::size_t> handlers_called{0};
std::atomic<std::size_t> calls_after_main{0};
std::atomic<bool> main_has_returned{false};
std::atomic<bool> command_buffers_fail{false};
std::atomic<pid_t> process{0};

Setting& setting() {
  static auto* const value = new Setting;
  return *value;
}

/// What the real functions rely on their callers for.
void require_queue(const at::mps::MPSStream& stream) {
  if (!stream.metal().on_queue()) die("encoder, commit or synchronise outside the stream's queue");
}

}  // namespace

policies::FaultModel sound_model() {
  policies::FaultModel model;
  model.device = {.streams = kStreams,
                  .encode = std::chrono::microseconds(5),
                  .execute = std::chrono::microseconds(20),
                  .parallel = 8};
  return model;
}

void die(const char* why) {
  std::fprintf(stderr, "stand-in: %s\n", why);
  std::abort();
}

void prepare(Setting wanted) {
  wanted.model.device.streams = kStreams;
  setting() = std::move(wanted);
}

World& World::instance() {
  static auto* const world = new World(setting().model);
  return *world;
}

World::World(policies::FaultModel model) : device(std::move(model)) {
  for (std::size_t i = 0; i < device.streams(); ++i) streams.emplace_back(device.stream(i));
}

std::string graph_path_at_first_call() {
  static const std::string seen = [] {
    const char* const value = std::getenv("MPS_FORCE_GRAPH_PATH");
    return std::string(value == nullptr ? "" : value);
  }();
  return seen;
}

void note_call() {
  static_cast<void>(graph_path_at_first_call());
  if (main_has_returned) ++calls_after_main;
  pid_t expected = 0;
  if (!process.compare_exchange_strong(expected, getpid()) && expected != getpid()) {
    die("libtorch was called in a forked child");
  }
}

void note_handler() { ++handlers_called; }

void require_initialised() {
  note_call();
  if (!World::instance().device.initialised()) die("MPS was used before it was initialised");
}

void main_returns() { main_has_returned = true; }
void fail_command_buffers() { command_buffers_fail = true; }

Counts counts() {
  Counts all = pool_counts();
  all.commits = commits;
  all.handlers_called = handlers_called;
  all.calls_after_main = calls_after_main;
  return all;
}

executor::metal::Stream& stream_being_encoded(const void* command_buffer) {
  for (const at::mps::MPSStream& stream : World::instance().streams) {
    executor::metal::Stream& metal = stream.metal();
    if (metal.on_queue() && &metal.command_buffer() == command_buffer) return metal;
  }
  die("a handler for a command buffer whose stream's queue this thread is not in");
}

void encode(executor::metal::Work work) {
  executor::metal::Stream& metal = at::mps::getCurrentMPSStream()->metal();
  metal.run_sync([&] { metal.encoder().encode(std::move(work)); });
}

void encode_past_the_queue(executor::metal::Work work) {
  at::mps::getCurrentMPSStream()->metal().encoder().encode(std::move(work));
}

std::int64_t current_stream() { return at::mps::getCurrentMPSStream()->unwrap().id(); }

}  // namespace streamgate::testing::stand_in

namespace stand_in = streamgate::testing::stand_in;

namespace at {

namespace detail {
const MPSHooksInterface& getMPSHooks() {
  static constexpr MPSHooksInterface kHooks;
  return kHooks;
}
}  // namespace detail

bool MPSHooksInterface::hasMPS() const {
  stand_in::note_call();
  return stand_in::setting().has_device;
}

#if STAND_IN_OLD_HOOKS
void MPSHooksInterface::initMPS() const {
#else
void MPSHooksInterface::init() const {
#endif
  stand_in::note_call();
  if (!stand_in::setting().has_device) stand_in::die("there is no device to initialise");
  stand_in::World::instance().device.initialise();
}

std::size_t MPSHooksInterface::getCurrentAllocatedMemory() const {
  stand_in::require_initialised();
  return 0;
}

void* MPSHooksInterface::getDispatchQueue() const { return mps::getDefaultMPSStream()->queue(); }

void* MPSHooksInterface::getCommandBuffer() const {
  mps::getDefaultMPSStream()->endKernelCoalescing();
  return mps::getDefaultMPSStream()->commandBuffer();
}

void MPSHooksInterface::commitStream() const {
  mps::getDefaultMPSStream()->synchronize(mps::SyncType::COMMIT);
}

namespace mps {

dispatch_queue_t MPSStream::queue() const {
  stand_in::require_initialised();
  return reinterpret_cast<dispatch_queue_t>(metal_);
}

void* MPSStream::commandBuffer() {
  stand_in::require_initialised();
  stand_in::require_queue(*this);
  if (stand_in::command_buffers_fail) throw std::runtime_error("no command buffer to be had");
  return &metal_->command_buffer();
}

void* MPSStream::commandEncoder() {
  stand_in::require_initialised();
  stand_in::require_queue(*this);
  return &metal_->encoder();
}

void MPSStream::endKernelCoalescing() {
  stand_in::require_initialised();
  stand_in::require_queue(*this);
  metal_->end_encoding();
}

void MPSStream::synchronize(SyncType type) {
  stand_in::require_initialised();
  stand_in::require_queue(*this);
  // Whoever waits here may wait for ever (pytorch#144634), and holds up the queue.
  if (type != SyncType::COMMIT) stand_in::die("a synchronise that is more than a commit");
  ++stand_in::commits;
  metal_->commit();
}

Unwrapped MPSStream::unwrap() const { return {static_cast<std::int64_t>(metal_->index())}; }

MPSStream* getDefaultMPSStream() {
  stand_in::require_initialised();
  return &stand_in::World::instance().streams.front();
}

}  // namespace mps
}  // namespace at
