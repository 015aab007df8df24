// SPDX-License-Identifier: Apache-2.0
//
// Metal's rules, each with the text that Metal, or what is below it, says when it is broken.
#include <streamgate/executor/backends/emulator/metal.h>

#include <streamgate/executor/backends/emulator/encoder_census.h>
#include <streamgate/executor/backends/emulator/engine.h>
#include <streamgate/executor/backends/emulator/process.h>

#include <cstdio>
#include <string>
#include <utility>

namespace streamgate::executor::metal {
namespace {

constexpr Clock::time_point kNever = Clock::time_point::max();

/// What encoding costs the thread. By the clock and not by counting, and with the core given up in
/// between: so on a machine with 2 cores, too, as many threads as there are encode at the same
/// time.
void spend(std::chrono::microseconds time) {
  if (time.count() == 0) return;
  const Clock::time_point end = Clock::now() + time;
  while (Clock::now() < end) std::this_thread::yield();
}

[[noreturn]] void fail_two_encoders() {
  fail_assertion("_MTLCommandBuffer computeCommandEncoder",
                 "A command encoder is already encoding to this command buffer");
}

/// For those faults that end the process or the thread.
void strike_down(const Strike& strike, std::string_view label) {
  if (strike.fault == policies::Fault::kCorrupt) return;
  // A person who meets this in a service's tests wants to know why; Metal's own words come last.
  std::fprintf(stderr, "emulated Metal: %s\n", strike.reason(label).c_str());
  switch (strike.fault) {
    case policies::Fault::kSegv:
      fail_by_bad_access();
    case policies::Fault::kAbort:
      fail_as_seen(strike.encode);
    case policies::Fault::kHang:
      hang();
    case policies::Fault::kCorrupt:
      break;
  }
}

}  // namespace

// ---- two threads in one stream ----

class Stream::Inside {
 public:
  explicit Inside(Stream& stream) : stream_(stream) {
    const std::thread::id me = std::this_thread::get_id();
    std::thread::id before{};
    if (stream_.inside_.compare_exchange_strong(before, me)) {
      outermost_ = true;
    } else if (before != me) {
      fail_two_encoders();
    }
  }
  ~Inside() {
    if (outermost_) stream_.inside_.store({});
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Stream& stream_;
  bool outermost_ = false;
};

// ---- the encoder ----

void Encoder::used_by_this_thread() {
  const std::thread::id me = std::this_thread::get_id();
  const bool on_queue = buffer_.stream_.on_queue();
  // Threads that take turns on the queue may go on with each other's encoder (MPSStream coalesces
  // kernels in this way). Without the queue there are no turns.
  const bool another = last_user_ != std::thread::id{} && last_user_ != me;
  if (another && !(on_queue && last_use_on_queue_)) fail_two_encoders();
  last_user_ = me;
  last_use_on_queue_ = on_queue;
}

void Encoder::encode(Work work) {
  Stream& stream = buffer_.stream_;
  const Stream::Inside inside(stream);
  stream.device_.require_initialised();
  if (buffer_.state() >= BufferState::kCommitted || !open_) {
    fail_assertion("IOGPUMetalCommandBuffer validate", "_status < MTLCommandBufferStatusCommitted");
  }
  used_by_this_thread();
  const std::optional<Strike> strike = stream.device_.census_->open(stream, buffer_, work.classes);
  buffer_.encoded_ = true;
  if (strike) strike_down(*strike, work.label);
  spend(stream.device_.model().device.encode);
  const std::span<std::byte> damaged = strike ? work.output : std::span<std::byte>{};
  if (work.kernel) {
    buffer_.items_.push_back({std::move(work.kernel), damaged});
  } else {
    damage(damaged);
  }
}

void Encoder::end_encoding() {
  const Stream::Inside inside(buffer_.stream_);
  if (!open_)
    fail_assertion("_MTLCommandEncoder endEncoding", "endEncoding has already been called");
  used_by_this_thread();
  open_ = false;
}

// ---- the command buffer ----

void CommandBuffer::enqueue() {
  const Stream::Inside inside(stream_);
  if (state() != BufferState::kNotEnqueued) {
    fail_assertion("_MTLCommandBuffer enqueue", "already enqueued or committed");
  }
  state_.store(BufferState::kEnqueued, std::memory_order_release);
}

void CommandBuffer::add_scheduled_handler(Handler handler) {
  const Stream::Inside inside(stream_);
  if (state() >= BufferState::kCommitted) {
    fail_assertion("_MTLCommandBuffer addScheduledHandler:",
                   "Scheduled handler provided after commit call");
  }
  scheduled_handlers_.push_back(std::move(handler));
}

void CommandBuffer::add_completed_handler(Handler handler) {
  const Stream::Inside inside(stream_);
  if (state() >= BufferState::kCommitted) {
    fail_assertion("_MTLCommandBuffer addCompletedHandler:",
                   "Completed handler provided after commit call");
  }
  completed_handlers_.push_back(std::move(handler));
}

Encoder& CommandBuffer::encoder() {
  const Stream::Inside inside(stream_);
  if (state() >= BufferState::kCommitted) {
    fail_assertion("IOGPUMetalCommandBuffer validate", "_status < MTLCommandBufferStatusCommitted");
  }
  if (!encoder_.open_) {
    encoder_.open_ = true;
    encoder_.last_user_ = {};
  }
  encoder_.used_by_this_thread();
  return encoder_;
}

void CommandBuffer::commit() {
  const Stream::Inside inside(stream_);
  if (state() >= BufferState::kCommitted) {
    fail_assertion("_MTLCommandBuffer commit", "commit an already committed command buffer");
  }
  if (encoder_.open_) {
    fail_assertion("_MTLCommandBuffer commit", "commit command buffer with uncommitted encoder");
  }
  state_.store(BufferState::kCommitted, std::memory_order_release);
  stream_.last_committed_ = std::move(stream_.filling_);
  stream_.device_.engine_->commit(stream_.last_committed_);
}

bool CommandBuffer::wait_until_completed(Clock::time_point deadline) const {
  const auto completed = [this] { return state() == BufferState::kCompleted; };
  std::unique_lock lock(stream_.completion_mutex_);
  if (deadline != kNever) return stream_.completed_.wait_until(lock, deadline, completed);
  stream_.completed_.wait(lock, completed);
  return true;
}

void CommandBuffer::execute() noexcept {
  for (Item& item : items_) {
    try {
      item.kernel();
    } catch (...) {
      if (!error_) error_ = std::current_exception();
    }
    damage(item.damaged);
  }
  // What the kernels own ends with them: the stream keeps its last buffer for longer.
  items_.clear();
}

void CommandBuffer::complete() noexcept {
  const std::vector<Handler> handlers = std::move(completed_handlers_);
  {
    const std::lock_guard lock(stream_.completion_mutex_);
    if (error_ && !stream_.error_) stream_.error_ = error_;
    // Release: pairs with state().
    state_.store(BufferState::kCompleted, std::memory_order_release);
    stream_.completed_.notify_all();
  }
  for (const Handler& handler : handlers) handler();
}

// ---- the stream ----

Stream::Turn::Turn(Stream& stream) : stream_(stream) {
  if (stream_.on_queue()) {
    fail_assertion("BUG IN CLIENT OF LIBDISPATCH",
                   "dispatch_sync called on queue already owned by current thread");
  }
  static_cast<void>(stream_.enter_queue(kNever));
}

Stream::Turn::~Turn() { stream_.leave_queue(); }

bool Stream::enter_queue(Clock::time_point deadline) {
  std::unique_lock lock(queue_mutex_);
  const auto is_free = [this] { return !queue_taken_; };
  if (deadline == kNever) {
    queue_free_.wait(lock, is_free);
  } else if (!queue_free_.wait_until(lock, deadline, is_free)) {
    return false;
  }
  queue_taken_ = true;
  queue_owner_.store(std::this_thread::get_id());
  return true;
}

void Stream::leave_queue() {
  const std::lock_guard lock(queue_mutex_);
  queue_owner_.store({});
  queue_taken_ = false;
  queue_free_.notify_one();
}

bool Stream::on_queue() const noexcept { return queue_owner_.load() == std::this_thread::get_id(); }

CommandBuffer& Stream::command_buffer() {
  const Inside inside(*this);
  device_.require_initialised();
  if (!filling_) filling_ = std::make_shared<CommandBuffer>(*this);
  return *filling_;
}

void Stream::end_encoding() {
  const Inside inside(*this);
  if (filling_ && filling_->encoder_is_open()) filling_->encoder_.end_encoding();
}

void Stream::commit() {
  const Inside inside(*this);
  device_.require_initialised();
  if (!filling_) return;
  end_encoding();
  filling_->commit();
}

bool Stream::synchronize(Clock::time_point deadline) {
  std::shared_ptr<CommandBuffer> last;
  if (on_queue()) {
    commit();
    last = last_committed_;
  } else {
    if (!enter_queue(deadline)) return false;
    commit();
    last = last_committed_;
    leave_queue();
  }
  return !last || last->wait_until_completed(deadline);
}

bool Stream::busy() const noexcept {
  if (filling_ && !filling_->empty()) return true;
  return last_committed_ && last_committed_->state() != BufferState::kCompleted;
}

std::exception_ptr Stream::take_error() noexcept {
  const std::lock_guard lock(completion_mutex_);
  return std::exchange(error_, nullptr);
}

// ---- the device ----

Device::Device(policies::FaultModel model, std::function<void()> bind_thread)
    : model_(std::move(model)),
      bind_thread_(std::move(bind_thread)),
      census_(std::make_unique<EncoderCensus>(model_)) {
  for (std::size_t i = 0; i < model_.device.streams; ++i) {
    streams_.push_back(std::unique_ptr<Stream>(new Stream(*this, i)));
  }
}

Device::~Device() = default;

void Device::initialise() {
  const std::lock_guard lock(initialise_mutex_);
  if (initialised()) return;
  if (!on_main_thread()) {
    fail_assertion("MTLCreateSystemDefaultDevice",
                   "the device must be initialised on the main thread before other threads use it");
  }
  engine_ = std::make_unique<Engine>(model_.device, *census_, bind_thread_);
  // Release: pairs with initialised().
  initialised_.store(true, std::memory_order_release);
}

bool Device::initialised() const noexcept { return initialised_.load(std::memory_order_acquire); }

void Device::require_initialised() const {
  if (initialised()) return;
  fail_assertion("MTLCreateSystemDefaultDevice", "the device was used before it was initialised");
}

std::size_t Device::encoders(policies::OpClass op_class) const noexcept {
  return census_->encoders(op_class);
}

std::size_t Device::most_encoders(policies::OpClass op_class) const noexcept {
  return census_->most_encoders(op_class);
}

}  // namespace streamgate::executor::metal
