// SPDX-License-Identifier: Apache-2.0
//
// Notices that another process has ended: a death rings no doorbell. It watches one descriptor and
// says so once; what is then to be done, and how the process died, is for others.
#pragma once

#include <streamgate/executor/internal/descriptor.h>

#include <functional>
#include <thread>

namespace streamgate::executor {

/// A pipe whose writing end nobody writes to: the reading end becomes readable when the last
/// process that has the writing end is gone. Throws std::system_error. Both are closed on exec.
struct Lifeline {
  Lifeline();
  Descriptor reading;
  Descriptor writing;
};

/// A thread that waits until a descriptor becomes readable: a pidfd when its process has ended, the
/// reading end of a Lifeline when the other side has.
///
/// Thread-safety: externally synchronised. Ownership: of its thread; the descriptor must outlive
/// it. Blocking: the destructor waits for a call of `ended` that is under way. Failure: the
/// constructor throws std::system_error.
///
///     PeerWatch watch(pidfd.get(), [&]() noexcept { channel.close(ChannelEnd::kPeerDied); });
class PeerWatch {
 public:
  /// `ended` is called at most once, on the watch's own thread, and must not throw.
  PeerWatch(int descriptor, std::function<void()> ended);
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

 private:
  Lifeline stop_;
  std::thread thread_;
};

}  // namespace streamgate::executor
