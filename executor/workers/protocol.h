// SPDX-License-Identifier: Apache-2.0
//
// What host and worker say to each other through a channel. How the bytes of a request and of a
// response are made is the codec's business; here they are blocks.
#pragma once

#include <cstdint>

namespace streamgate::executor {

/// Raised with every change of a message's meaning or of the codec: host and worker may come from
/// two builds, and neither guesses.
inline constexpr std::uint32_t kWorkerProtocol = 3;

/// ChannelMessage::kind. A worker says kUp, is told kConfigure, says kReady or kUnfit; after that
/// each kCall has exactly one answer. A host that closes the channel means: end.
enum class MessageKind : std::uint32_t {
  kUp = 1,  ///< Worker: the process runs. detail: kWorkerProtocol; argument: pid; block: identity.
  kConfigure,  ///< Host: block: what CallRunner::prepare is given.
  kReady,      ///< Worker: libtorch and modules are loaded.
  kUnfit,      ///< Worker: it cannot be made ready. block: why.
  kCall,    ///< Host: block: the request; argument: start by, in ns of the steady clock; 0: ever.
  kDone,    ///< Worker: block: the response; detail: 1 for one of the first runs, else 0.
  kFailed,  ///< Worker: the operation threw. block: what it said.
  kCancelled,  ///< Worker: it left the call because Channel::cancelled said so.
  kExpired,    ///< Worker: the time to start by was over; nothing was started.
};

/// Descriptors of a worker process, named in its arguments.
inline constexpr int kChannelInWorker = 3;
inline constexpr int kLifeInWorker = 4;

/// Exit codes of a worker process.
enum WorkerExitCode : int {
  kWorkerEnded = 0,         ///< The host closed the channel.
  kWorkerCannotServe = 70,  ///< The reason is on stderr.
  kWorkerOrphaned = 71,     ///< The host is gone.
  kWorkerLostDevice = 72,   ///< A call has made the device useless to the process; see its stderr.
};

}  // namespace streamgate::executor
