// SPDX-License-Identifier: Apache-2.0
//
// How much may be reserved, and by whom.
#include <streamgate/executor/internal/memory_budget.h>

#include <streamgate/executor/learned_memory.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace streamgate::executor {
namespace {

constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

std::size_t reduced(std::size_t bytes, std::size_t by) { return bytes > by ? bytes - by : 0; }
std::size_t added(std::size_t a, std::size_t b) { return a > kAll - b ? kAll : a + b; }

}  // namespace

MemoryBudget::MemoryBudget(Backend& backend, const policies::Config::Memory& config) noexcept
    : backend_(backend), budget_(config.budget_bytes), headroom_(config.headroom_bytes) {
  judge(backend_.memory(), 0);
}

void MemoryBudget::apply(const policies::Config::Memory& config) noexcept {
  budget_.store(config.budget_bytes, std::memory_order_relaxed);
  headroom_.store(config.headroom_bytes, std::memory_order_relaxed);
  // A look that is under way may still judge by the old numbers, so this one waits for none.
  judge(backend_.memory(), reserved_.load(std::memory_order_seq_cst));
}

void MemoryBudget::look(Clock::time_point now) noexcept {
  const Clock::time_point before = looked_.load(std::memory_order_relaxed);
  // A clock that went back looks again, too.
  if (before != Clock::time_point::min() && now >= before && now - before < kLookEvery) return;
  // Acquire and release: the next one to look sees what this one has left.
  if (looking_.exchange(true, std::memory_order_acquire)) return;
  // Before the device is asked: what is reserved meanwhile is not yet held.
  const std::size_t reserved = reserved_.load(std::memory_order_seq_cst);
  judge(backend_.memory(), reserved);
  looked_.store(now, std::memory_order_relaxed);
  looking_.store(false, std::memory_order_release);
}

void MemoryBudget::judge(const std::optional<DeviceMemory>& memory, std::size_t reserved) noexcept {
  const std::size_t budget = budget_.load(std::memory_order_relaxed);
  const std::size_t headroom = headroom_.load(std::memory_order_relaxed);
  std::size_t whole = budget == 0 ? kAll : budget;
  std::size_t room = whole;
  if (memory) {
    if (reserved == 0) at_rest_.store(memory->held, std::memory_order_relaxed);
    const std::size_t grown = reduced(memory->held, at_rest_.load(std::memory_order_relaxed));
    whole = std::min(whole, reduced(memory->total, headroom));
    room = std::min(whole, reduced(added(memory->free, std::min(grown, reserved)), headroom));
    free_.store(memory->free, std::memory_order_relaxed);
  }
  moves_.store(memory.has_value(), std::memory_order_relaxed);
  whole_.store(whole, std::memory_order_relaxed);
  // Sequentially consistent: whoever changed it looks for waiting tasks afterwards.
  room_.store(room, std::memory_order_seq_cst);
}

MemoryBudget::Need MemoryBudget::need(const TaskNode& node) const noexcept {
  if (node.learn_memory == nullptr) return {.bytes = node.memory_bytes, .learned = false};
  if (const auto learned = node.learn_memory->estimate(node.cost_bytes)) {
    return {.bytes = std::min(*learned, whole_.load(std::memory_order_relaxed)), .learned = true};
  }
  if (node.memory_bytes != 0 || !backend_.can_meter()) {
    return {.bytes = node.memory_bytes, .learned = false};
  }
  // Nobody knows: it has all of it, once. Those like it that wait meanwhile will know.
  return {.bytes = whole_.load(std::memory_order_relaxed), .learned = true};
}

bool MemoryBudget::is_too_large(const TaskNode& node) const noexcept {
  return node.memory_bytes > whole_.load(std::memory_order_relaxed) && !need(node).learned;
}

bool MemoryBudget::allows(Need need, std::size_t reserved) const noexcept {
  const std::size_t room = room_.load(std::memory_order_seq_cst);
  if (need.bytes <= room && reserved <= room - need.bytes) return true;
  // A guess that never fits must not hold a task up for ever: alone, it may go.
  return need.learned && reserved == 0;
}

bool MemoryBudget::fits(const TaskNode& node) const noexcept {
  return allows(need(node), reserved_.load(std::memory_order_seq_cst));
}

bool MemoryBudget::try_reserve(TaskNode& node) noexcept {
  const Need wanted = need(node);
  std::size_t reserved = reserved_.load(std::memory_order_seq_cst);
  std::size_t bytes;
  do {
    if (!allows(wanted, reserved)) return false;
    bytes = std::min(wanted.bytes, kAll - reserved);
    // Sequentially consistent, as the gate's: see internal/core.h on who sees whom.
  } while (!reserved_.compare_exchange_weak(reserved, reserved + bytes, std::memory_order_seq_cst));
  node.reserved_bytes = bytes;
  return true;
}

void MemoryBudget::give_back(const TaskNode& node) noexcept {
  reserved_.fetch_sub(node.reserved_bytes, std::memory_order_seq_cst);
}

void MemoryBudget::begins(TaskNode& node) noexcept {
  node.measures_memory =
      node.learn_memory->wants_run(node.cost_bytes) && backend_.starts_metering();
}

void MemoryBudget::ends(TaskNode& node, Outcome outcome) noexcept {
  if (!node.measures_memory) return;
  const std::size_t held = backend_.ends_metering();
  measured_.fetch_add(1, std::memory_order_relaxed);
  if (held > node.reserved_bytes) exceeded_.fetch_add(1, std::memory_order_relaxed);
  // A task that gave up early has not shown all that it needs.
  if (outcome == Outcome::kOk) node.learn_memory->learn(node.cost_bytes, held);
}

void MemoryBudget::overtaken(TaskNode& node) noexcept {
  ++node.memory_overtaken;
  overtakes_.fetch_add(1, std::memory_order_relaxed);
}

void MemoryBudget::add_to(Snapshot& snapshot) const noexcept {
  Snapshot::Memory& memory = snapshot.memory;
  const auto finite = [](std::size_t bytes) { return bytes == kAll ? 0 : bytes; };
  memory.known = moves();
  memory.whole = finite(whole_.load(std::memory_order_relaxed));
  memory.room = finite(room_.load(std::memory_order_relaxed));
  memory.free = free_.load(std::memory_order_relaxed);
  memory.reserved = reserved_.load(std::memory_order_relaxed);
  memory.overtakes = overtakes_.load(std::memory_order_relaxed);
  memory.measured = measured_.load(std::memory_order_relaxed);
  memory.exceeded = exceeded_.load(std::memory_order_relaxed);
}

}  // namespace streamgate::executor
