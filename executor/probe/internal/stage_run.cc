// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/probe/internal/stage_run.h>

#include <barrier>
#include <chrono>
#include <csignal>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace streamgate::executor::probe {
namespace {

using Clock = std::chrono::steady_clock;

/// 1 + the index of the calling thread in the stage, 0 on any other thread; read by the handler.
thread_local std::uint32_t this_thread_number = 0;
Board* board_of_process = nullptr;

extern "C" void on_fatal_signal(int signal) {
  std::uint32_t nobody = 0;
  board_of_process->struck.compare_exchange_strong(nobody, this_thread_number);
  // Its action is the default again (SA_RESETHAND), and it is blocked until this returns: then the
  // process dies of it, also where it was sent and would not come back by itself.
  raise(signal);
}

class StageRun {
 public:
  StageRun(Workload& workload, const Stage& stage, std::size_t index, StreamIndex first_stream,
           Board& board, const TrialEnd& end)
      : workload_(workload),
        stage_(stage),
        first_stream_(first_stream),
        board_(board),
        figures_(board.stages[index]),
        end_(end),
        barrier_(static_cast<std::ptrdiff_t>(threads_of(stage)), Release{this}) {}

  void run() {
    std::vector<std::jthread> threads;
    for (const Party& party : stage_.parties) {
      for (std::size_t i = 0; i < party.width; ++i) {
        start_thread(threads, party.op_class);
      }
    }
    threads.clear();
    figures_.nanoseconds = static_cast<std::uint64_t>((Clock::now() - started_).count());
  }

 private:
  void start_thread(std::vector<std::jthread>& threads, policies::OpClass op_class) {
    try {
      // The thread is noexcept: an exception of the device ends the process with the exception's
      // text on standard error, which is a failure like any other.
      threads.emplace_back(
          [this, op_class, at = threads.size()]() noexcept { thread_main(op_class, at); });
    } catch (const std::system_error& error) {
      // Those that did start wait at the barrier for ever: there is no way on but out, and not
      // through their destructors.
      end_.cannot_run(board_, "cannot start " + std::to_string(threads_of(stage_)) +
                                  " threads: " + error.what());
    }
  }

  /// Runs between the last thread's arrival at the barrier and the release of all.
  struct Release {
    StageRun* run;
    void operator()() noexcept { run->decide(); }
  };

  void decide() noexcept {
    const Clock::time_point now = Clock::now();
    if (started_ == Clock::time_point{}) {
      started_ = now;
      ends_ = now + stage_.at_most;
      return;
    }
    over_ = now >= ends_ || enough();
  }

  [[nodiscard]] bool enough() const noexcept {
    return stage_.operations != 0 && figures_.operations.load() >= stage_.operations;
  }

  void thread_main(policies::OpClass op_class, std::size_t at) noexcept {
    this_thread_number = static_cast<std::uint32_t>(at + 1);
    std::unique_ptr<Operations> operations = opened(op_class, at);
    ThreadStamp& stamp = board_.threads[at];
    if (stage_.warm_up != 0) {
      const std::lock_guard alone(warming_up_);
      for (std::uint64_t i = 0; i < stage_.warm_up; ++i) {
        static_cast<void>(step(*operations, stamp, at, 1));
      }
      stamp.begun = 0;  // Those were not run at this width.
      stamp.checked = 0;
    }
    barrier_.arrive_and_wait();
    if (stage_.mode == Mode::kPace) {
      while (Clock::now() < ends_ && !enough()) {
        figures_.operations.fetch_add(step(*operations, stamp, at, 1));
      }
      return;
    }
    while (!over_) {
      figures_.operations.fetch_add(step(*operations, stamp, at, stage_.batch));
      barrier_.arrive_and_wait();
    }
  }

  std::unique_ptr<Operations> opened(policies::OpClass op_class, std::size_t at) noexcept {
    return or_cannot_run(
        [&] { return workload_.open(op_class, (first_stream_ + at) % workload_.max_streams()); });
  }

  /// A batch: encode, wait, check. Returns how many it was.
  std::size_t step(Operations& operations, ThreadStamp& stamp, std::size_t at,
                   std::size_t batch) noexcept {
    std::size_t encoded = 0;
    const std::size_t wrong = or_cannot_run([&] {
      while (encoded < batch) {
        stamp.begun.fetch_add(1);
        operations.encode();
        ++encoded;
        // So that a slow device ends a stage in time, too.
        if (started_ != Clock::time_point{} && Clock::now() >= ends_) break;
      }
      return operations.finish();
    });
    if (wrong != 0) {
      std::uint32_t nobody = 0;
      if (board_.struck.compare_exchange_strong(nobody, static_cast<std::uint32_t>(at + 1))) {
        board_.wrong = static_cast<std::uint32_t>(wrong);
        end_.corrupt(board_);
      }
    }
    stamp.checked.fetch_add(encoded);
    return encoded;
  }

  template <typename Callable>
  auto or_cannot_run(Callable callable) noexcept -> decltype(callable()) {
    try {
      return callable();
    } catch (const std::bad_alloc&) {
      end_.cannot_run(board_, "out of memory");
    } catch (const std::system_error& error) {
      end_.cannot_run(board_, error.what());
    }
    std::terminate();  // Not reached: they end the process.
  }

  Workload& workload_;
  const Stage& stage_;
  const StreamIndex first_stream_;
  Board& board_;
  StageFigures& figures_;
  const TrialEnd& end_;
  std::mutex warming_up_;

  // Written by decide only, while all threads stand at the barrier, which orders it with them.
  Clock::time_point started_{};
  Clock::time_point ends_{};
  bool over_ = false;
  std::barrier<Release> barrier_;
};

}  // namespace

void run_stage(Workload& workload, const Stage& stage, std::size_t index, StreamIndex first_stream,
               Board& board, const TrialEnd& end) {
  for (ThreadStamp& stamp : board.threads) {
    stamp.begun = 0;
    stamp.checked = 0;
  }
  board.stage = static_cast<std::uint32_t>(index);
  StageRun(workload, stage, index, first_stream, board, end).run();
}

void note_fatal_signals(Board& board) {
  board_of_process = &board;
  struct sigaction action {};
  action.sa_handler = on_fatal_signal;
  action.sa_flags = SA_RESETHAND;
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS}) {
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace streamgate::executor::probe
