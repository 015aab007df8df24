// SPDX-License-Identifier: Apache-2.0
//
// The supervisor's thread; what the threads that listen do is in worker_listening.cc.
#include <streamgate/executor/workers/supervisor.h>

#include <streamgate/executor/internal/log.h>
#include <streamgate/executor/internal/thread_name.h>
#include <streamgate/executor/workers/protocol.h>

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <limits>
#include <system_error>

namespace streamgate::executor {
namespace {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

constexpr std::chrono::milliseconds kMemoryLook{500};

std::int64_t nanoseconds(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

/// The last lines of what a process said, on one line.
std::string on_one_line(std::string text) {
  constexpr std::size_t kMost = 600;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (text.size() > kMost) text = "..." + text.substr(text.size() - kMost);
  std::replace(text.begin(), text.end(), '\n', '|');
  return text;
}

std::string how(const ProcessEnd& end) {
  if (!end.known) return "ended, and somebody else in this process reaped it";
  if (end.signal != 0) return "was ended by " + signal_name(end.signal);
  return "exited with " + std::to_string(end.exit_code);
}

bool is_a_death(WorkerExit cause) {
  switch (cause) {
    case WorkerExit::kStopped:
    case WorkerExit::kIdle:
    case WorkerExit::kRecycled:
    case WorkerExit::kCancelled:
      return false;
    case WorkerExit::kExited:
    case WorkerExit::kSignalled:
    case WorkerExit::kHung:
    case WorkerExit::kCorrupt:
    case WorkerExit::kStartFailed:
      break;
  }
  return true;
}

}  // namespace

Supervisor::Supervisor(SupervisorOptions options, WorkerListener& listener)
    : options_(std::move(options)),
      listener_(listener),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      planned_wake_(std::numeric_limits<std::int64_t>::max()),
      restart_(options_.restart) {
  if (!wake_) throw std::system_error(errno, std::generic_category(), "supervisor: eventfd");
  thread_ = std::thread([this] { run(); });
}

Supervisor::~Supervisor() { stop(); }

void Supervisor::stop() noexcept {
  {
    const Lock lock(mutex_);
    stopping_ = true;
    wanted_ = 0;
  }
  wake();
  if (thread_.joinable()) thread_.join();
}

void Supervisor::want(std::size_t workers) noexcept {
  {
    const Lock lock(mutex_);
    if (stopping_ || wanted_ == workers) return;
    wanted_ = workers;
  }
  wake();
}

void Supervisor::end(const std::shared_ptr<Worker>& worker, WorkerExit cause,
                     std::string why) noexcept {
  {
    const Lock lock(mutex_);
    if (worker->condemned || worker->end) return;
    worker->condemned = {.cause = cause, .why = std::move(why), .since = Clock::now()};
  }
  wake();
}

void Supervisor::served() noexcept {
  const Lock lock(mutex_);
  restart_.served(Clock::now());
}

void Supervisor::wake_at(TimePoint time) noexcept {
  if (nanoseconds(time) < planned_wake_.load()) wake();
}

void Supervisor::wake() noexcept {
  const std::uint64_t one = 1;
  // A counter that is full wakes as well.
  static_cast<void>(!write(wake_.get(), &one, sizeof one));
}

std::size_t Supervisor::alive() const {
  const Lock lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(workers_.begin(), workers_.end(),
                    [](const auto& each) { return !each->condemned && !each->end; }));
}

bool Supervisor::is_out_of_service() const {
  const Lock lock(mutex_);
  return restart_.is_open() && !restart_.may_start(Clock::now()) &&
         std::all_of(workers_.begin(), workers_.end(),
                     [](const auto& each) { return each->condemned || each->end; });
}

std::string Supervisor::last_failure() const {
  const Lock lock(mutex_);
  return last_failure_;
}

void Supervisor::add_to(WorkersSnapshot& snapshot) const {
  const Lock lock(mutex_);
  snapshot.starts = starts_;
  snapshot.exits = exits_;
  snapshot.start_time = start_time_;
  snapshot.breaker_open = restart_.is_open();
  snapshot.bytes_sent = bytes_sent_;
  snapshot.bytes_received = bytes_received_;
  for (const auto& worker : workers_) {
    const WorkerState state = worker->condemned || worker->end ? WorkerState::kEnding
                              : worker->ready                  ? WorkerState::kIdle
                                                               : WorkerState::kStarting;
    ++snapshot.states[static_cast<std::size_t>(state)];
    snapshot.memory_bytes += worker->memory;
    snapshot.shared_reserved_bytes += worker->channel.reserved_bytes();
    snapshot.shared_used_bytes += worker->channel.used_bytes() + worker->channel.mapped_bytes();
    snapshot.bytes_sent += worker->channel.bytes_lent();
    snapshot.bytes_received += worker->channel.bytes_mapped();
  }
}

std::vector<std::shared_ptr<Worker>> Supervisor::workers() const {
  const Lock lock(mutex_);
  return workers_;
}

// ---- the thread ---------------------------------------------------------------------------------

void Supervisor::run() noexcept {
  set_thread_name("sg-supervisor");
  for (;;) {
    // Who sets a time from here on wakes us, since we may have looked past it already.
    planned_wake_.store(std::numeric_limits<std::int64_t>::max());
    TimePoint now = Clock::now();
    TimePoint next = TimePoint::max();
    for (const auto& worker : workers()) {
      if (worker->process) {
        worker->process->hear();
        reap(*worker, now);
      }
      look_at_memory(*worker, now);
      next = std::min(next, climb(*worker, now));
    }
    join_listened_out();
    start_wanted(now);
    next = std::min({next, listener_.on_tick(now), next_start(now)});
    {
      const Lock lock(mutex_);
      if (stopping_ && workers_.empty()) return;
      if (!workers_.empty() && wanted_ > 0) next = std::min(next, now + kMemoryLook);
    }
    wait(next);
  }
}

void Supervisor::wait(TimePoint until) noexcept {
  std::vector<pollfd> polled{{wake_.get(), POLLIN, 0}};
  for (const auto& worker : workers()) {
    if (!worker->process) continue;
    polled.push_back({worker->process->watched(), POLLIN, 0});
    if (worker->process->words() >= 0) polled.push_back({worker->process->words(), POLLIN, 0});
  }
  planned_wake_.store(nanoseconds(until));
  int milliseconds = -1;
  if (until != TimePoint::max()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    milliseconds = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  }
  // What poll says is not asked: every source is looked at in each turn.
  static_cast<void>(!poll(polled.data(), polled.size(), milliseconds));
  std::uint64_t count = 0;
  static_cast<void>(!read(wake_.get(), &count, sizeof count));
}

void Supervisor::start_wanted(TimePoint now) noexcept {
  {
    const Lock lock(mutex_);
    if (stopping_ || !restart_.may_start(now)) return;
    std::size_t alive = 0;
    std::size_t starting = 0;
    for (const auto& worker : workers_) {
      if (worker->condemned || worker->end) continue;
      ++alive;
      if (!worker->ready) ++starting;
    }
    if (alive >= wanted_) return;
    if (restart_.is_open() && starting > 0) return;  // One at a time, until one has answered.
  }
  try {
    start(now);
    wake();  // One in each turn: a death is to be seen between two starts.
  } catch (const std::exception& error) {
    log(LogLevel::kError, "worker_start_failed",
        "a worker cannot be started: " + std::string(error.what()), {{"error", error.what()}});
    const Lock lock(mutex_);
    restart_.failed_to_start(now);
    ++exits_[static_cast<std::size_t>(WorkerExit::kStartFailed)];
    last_failure_ = "a worker cannot be started: " + std::string(error.what());
  }
}

void Supervisor::start(TimePoint now) {
  std::uint64_t number = 0;
  {
    const Lock lock(mutex_);
    number = starts_ + 1;
  }
  auto worker = std::make_shared<Worker>(number, Channel::create(options_.channel));
  ProcessOptions process{.program = options_.program,
                         .arguments = options_.arguments,
                         .environment = options_.environment,
                         .descriptors = {{worker->channel.descriptor(), kChannelInWorker}}};
  const std::vector<std::string> links{"--channel-fd", std::to_string(kChannelInWorker),
                                       "--life-fd",    std::to_string(kLifeInWorker),
                                       "--host",       std::to_string(getpid()),
                                       "--intra-op",   std::to_string(options_.intra_op_threads)};
  process.arguments.insert(process.arguments.end(), links.begin(), links.end());
  worker->process.emplace(process);
  worker->channel.close_descriptor();
  worker->started_at = now;
  worker->memory_read_at = now;
  const Lock lock(mutex_);
  workers_.reserve(workers_.size() + 1);
  worker->listener = std::thread([this, worker] { listen(worker); });
  workers_.push_back(std::move(worker));
  ++starts_;
}

TimePoint Supervisor::next_start(TimePoint now) const {
  const Lock lock(mutex_);
  const auto alive = static_cast<std::size_t>(
      std::count_if(workers_.begin(), workers_.end(),
                    [](const auto& each) { return !each->condemned && !each->end; }));
  if (stopping_ || alive >= wanted_ || restart_.next_start() <= now) return TimePoint::max();
  return restart_.next_start();
}

void Supervisor::reap(Worker& worker, TimePoint now) noexcept {
  const std::optional<ProcessEnd> process = worker.process->reap();
  if (!process) return;
  worker.process->hear();  // What it said between the last look and its end.
  WorkerEnd end{.process = *process};
  const std::string words = on_one_line(worker.process->last_words());
  {
    const Lock lock(mutex_);
    std::string why;
    if (worker.condemned) {
      end.cause = worker.condemned->cause;
      why = worker.condemned->why + "; it ";
    } else {
      end.cause = !worker.ready          ? WorkerExit::kStartFailed
                  : process->signal != 0 ? WorkerExit::kSignalled
                                         : WorkerExit::kExited;
      if (!worker.ready) why = "before it was ready it ";
    }
    end.evidence = "worker " + std::to_string(worker.number) + " (process " +
                   std::to_string(worker.process->pid()) + "): " + why + how(*process) +
                   (words.empty() ? "" : "; its last words: " + words);
    worker.end = end;
    worker.memory = 0;
    count_end(worker, now);
  }
  worker.process.reset();
  worker.channel.close(ChannelEnd::kPeerDied);
  ended_.notify_all();
  if (is_a_death(end.cause)) {
    log(LogLevel::kWarning, "worker_died", end.evidence, {{"cause", to_string(end.cause)}});
  }
}

void Supervisor::count_end(const Worker& worker, TimePoint now) {
  ++exits_[static_cast<std::size_t>(worker.end->cause)];
  if (stopping_ || !is_a_death(worker.end->cause)) return;
  worker.ready ? restart_.died(now) : restart_.failed_to_start(now);
  last_failure_ = worker.end->evidence;
}

void Supervisor::look_at_memory(Worker& worker, TimePoint now) {
  if (!worker.process || now - worker.memory_read_at < kMemoryLook) return;
  worker.memory_read_at = now;
  const std::size_t bytes = worker.process->own_memory().value_or(0);
  worker.memory = bytes;
  const Lock lock(mutex_);
  // Not before it is ready: modules are no growth.
  if (worker.ready && worker.first_memory == 0) worker.first_memory = bytes;
}

TimePoint Supervisor::climb(Worker& worker, TimePoint now) noexcept {
  int signal = 0;
  TimePoint next = TimePoint::max();
  bool close = false;
  {
    const Lock lock(mutex_);
    if (worker.end || !worker.process) return next;
    if (stopping_ && !worker.condemned) {
      worker.condemned = {.cause = WorkerExit::kStopped, .why = "stopped", .since = now};
    }
    if (!worker.condemned) return next;
    Worker::Condemned& condemned = *worker.condemned;
    const bool asks_first = condemned.cause == WorkerExit::kStopped ||
                            condemned.cause == WorkerExit::kIdle ||
                            condemned.cause == WorkerExit::kRecycled;
    const bool kills_first = condemned.cause == WorkerExit::kCorrupt;
    const TimePoint term_at =
        condemned.since + (asks_first ? options_.term_grace : Clock::duration{});
    const TimePoint kill_at = kills_first ? condemned.since : term_at + options_.term_grace;
    if (condemned.signalled == SIGKILL) return next;
    if (now >= kill_at) {
      signal = SIGKILL;
    } else if (now >= term_at && condemned.signalled == 0) {
      signal = SIGTERM;
    }
    if (signal != 0) condemned.signalled = signal;
    close = asks_first;
    next = signal == SIGKILL ? next : condemned.signalled == 0 ? term_at : kill_at;
  }
  if (close) worker.channel.close();
  if (signal != 0) worker.process->signal(signal);
  return next;
}

void Supervisor::join_listened_out() noexcept {
  std::vector<std::shared_ptr<Worker>> gone;
  {
    const Lock lock(mutex_);
    const auto first_gone = std::stable_partition(
        workers_.begin(), workers_.end(), [](const auto& each) { return !each->listened_out; });
    gone.assign(first_gone, workers_.end());
    workers_.erase(first_gone, workers_.end());
    for (const auto& worker : gone) {
      bytes_sent_ += worker->channel.bytes_lent();
      bytes_received_ += worker->channel.bytes_mapped();
    }
  }
  for (const auto& worker : gone) worker->listener.join();
}

}  // namespace streamgate::executor
