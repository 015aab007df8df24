// SPDX-License-Identifier: Apache-2.0
//
// poll on two descriptors: the one that is watched, and the one that ends the watch.
#include <streamgate/executor/workers/peer_watch.h>

#include <fcntl.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace streamgate::executor {

Lifeline::Lifeline() {
  std::array<int, 2> ends{-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "lifeline: pipe2");
  }
  reading = Descriptor(ends[0]);
  writing = Descriptor(ends[1]);
}

PeerWatch::PeerWatch(int descriptor, std::function<void()> ended)
    : thread_([descriptor, stop = stop_.reading.get(), ended = std::move(ended)] {
        std::array<pollfd, 2> polled{pollfd{descriptor, POLLIN, 0}, pollfd{stop, POLLIN, 0}};
        // Without a time limit: both ends of this wait are events, and one of them is ours.
        while (poll(polled.data(), polled.size(), -1) < 0) {
        }
        if (polled[1].revents == 0) ended();
      }) {}

PeerWatch::~PeerWatch() {
  stop_.writing.reset();
  thread_.join();
}

}  // namespace streamgate::executor
