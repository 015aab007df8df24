// SPDX-License-Identifier: Apache-2.0
//
// What a test may say to the stand-ins of libtorch and of Apple's runtime, and what it may ask
// them. They die, with a text that begins "stand-in: ", of every use that the real ones would
// punish, now or some day.
#pragma once

#include <streamgate/executor/backends/emulator/metal.h>
#include <streamgate/policies/fault_model.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace streamgate::testing::stand_in {

/// A device that never fails, is quick, and has as many streams as the tier hands out.
[[nodiscard]] policies::FaultModel sound_model();

struct Setting {
  policies::FaultModel model = sound_model();
  bool has_device = true;
};

/// REQUIRES: nothing has been called before, in this process.
void prepare(Setting setting);

/// What an operator of libtorch does: encodes, in the queue of the current stream.
void encode(executor::metal::Work work);
/// The same past the queue, as upstream's operators up to 2.14 do in part (pytorch#197836).
void encode_past_the_queue(executor::metal::Work work);

/// The number of the stream that is current on this thread.
[[nodiscard]] std::int64_t current_stream();
/// What a thread that no executor leads does.
[[nodiscard]] std::int64_t take_stream_from_pool();
void release_stream_to_pool(std::int64_t stream);  ///< Fork B only.

/// What MPS_FORCE_GRAPH_PATH was when libtorch was first called; empty when it was not set.
[[nodiscard]] std::string graph_path_at_first_call();

/// From now on libtorch throws when it is asked for a command buffer.
void fail_command_buffers();

struct Counts {
  std::size_t commits = 0;
  std::size_t handlers_called = 0;
  /// Streams that a thread was given for its life, as it asked for its current one without having
  /// any; forks only.
  std::size_t streams_given_to_threads = 0;
  std::size_t streams_acquired = 0;  ///< And not released; fork B only.
  std::size_t calls_after_main = 0;
};
[[nodiscard]] Counts counts();
/// Autorelease pools that this thread has pushed and not popped.
[[nodiscard]] std::size_t open_pools();
/// All that were ever pushed.
[[nodiscard]] std::size_t pushed_pools();

/// From now on every call of libtorch is counted as one after main.
void main_returns();

[[noreturn]] void die(const char* why);

// ---- between the stand-ins ----

/// Every function of libtorch begins with it.
void note_call();
void note_handler();
/// The stream in whose queue this thread is, if its command buffer is this one; else it dies.
[[nodiscard]] executor::metal::Stream& stream_being_encoded(const void* command_buffer);

}  // namespace streamgate::testing::stand_in
