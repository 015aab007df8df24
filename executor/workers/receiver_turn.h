// SPDX-License-Identifier: Apache-2.0
//
// Whose turn it is to receive from a worker: that of the thread which listens to it, or of one that
// has sent a call and would only wait for its answer. The latter spares two threads' waking each
// other, which is a third of what a small call takes. What is received is not known here.
#pragma once

#include <streamgate/executor/workers/channel.h>

#include <atomic>
#include <chrono>
#include <mutex>

namespace streamgate::executor {

/// Thread-safety: as said at each function. Ownership: refers to the channel. Blocking: receive and
/// receive_answer wait for a message or the end of the channel, and take_over for as long as the
/// listening thread takes to leave. Failure: none.
///
///     turn.take_over();                       // here: the listening thread sleeps from now on
///     send(call);
///     Received answer = turn.receive_answer();
///     ...                                     // the next call, with whoever is the next
///     turn.give_back();                       // before a call for whose answer nobody waits
///
/// A listening thread whose turn it is not hears of nothing but the end. So it is given back before
/// anything is sent for whose answer nobody stays; in between, a worker that has no call has
/// nothing to say.
class ReceiverTurn {
 public:
  explicit ReceiverTurn(Channel& channel) noexcept : channel_(channel) {}

  /// The listening thread's: the next message that is its to hear, or the end.
  [[nodiscard]] Received receive() noexcept {
    for (;;) {
      const bool ended = channel_.wait_for_end(taken_over_);
      const std::lock_guard lock(receiving_);
      // Who took over between the two has been let in already, and what comes now is for that one.
      if (!ended && taken_over_.load(std::memory_order_seq_cst)) continue;
      const Received received = channel_.receive(std::chrono::steady_clock::time_point::max(),
                                                 ended ? nullptr : &taken_over_);
      if (received.status != ChannelStatus::kDeadline) return received;
    }
  }

  /// For whoever has the worker for a call, which it has not sent yet.
  void take_over() noexcept {
    if (taken_over_.exchange(true, std::memory_order_seq_cst)) return;
    channel_.leave_receive();
    // Until the listening thread has left: were it slow, it would find the answer there.
    const std::lock_guard left(receiving_);
  }
  /// The answer to the call that was sent since; what is not kDone is for the listening thread to
  /// see to, and it does.
  [[nodiscard]] Received receive_answer() noexcept {
    Received received;
    {
      const std::lock_guard lock(receiving_);
      received = channel_.receive(std::chrono::steady_clock::time_point::max());
    }
    if (received.status != ChannelStatus::kDone) give_back();
    return received;
  }
  /// For whoever has the worker for a call, or has seen the channel's end. Costs a load where it is
  /// the listening thread's turn already.
  void give_back() noexcept {
    if (!taken_over_.load(std::memory_order_seq_cst)) return;
    taken_over_.store(false, std::memory_order_seq_cst);
    channel_.leave_wait_for_end();
  }

 private:
  Channel& channel_;
  std::mutex receiving_;  // Receiving is for one thread at a time; nothing else is locked under it.
  std::atomic<bool> taken_over_{false};
};

}  // namespace streamgate::executor
