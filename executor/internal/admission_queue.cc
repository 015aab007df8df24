// SPDX-License-Identifier: Apache-2.0
//
// The inbox, the lines, and the order.
#include <streamgate/executor/internal/admission_queue.h>

#include <cassert>

namespace streamgate::executor {
namespace {

/// Stands in the inbox for "closed"; never followed.
QueueLinks closed_mark;

}  // namespace

AdmissionQueue::AdmissionQueue(std::size_t max_tasks, std::size_t max_bytes) noexcept
    : max_tasks_(max_tasks), max_bytes_(max_bytes) {}

AdmissionQueue::~AdmissionQueue() { assert(tasks() == 0 && "a queued task would be lost"); }

AdmissionQueue::Push AdmissionQueue::reserve(std::size_t cost_bytes) noexcept {
  const auto exceeds = [this](std::size_t before, std::size_t taken) {
    // Signed: tasks that were reserved after this one may have been taken already.
    return static_cast<std::ptrdiff_t>(before - taken) >= static_cast<std::ptrdiff_t>(max_tasks());
  };
  // Sequentially consistent, as is tasks(): a release that finds no waiting task here was followed
  // by this submission's look at the gate (see internal/core.h).
  const std::size_t before = reserved_.fetch_add(1, std::memory_order_seq_cst);
  // The workers' line is looked at only when the bound seems reached.
  if (exceeds(before, taken_seen_.load(std::memory_order_relaxed))) {
    const std::size_t taken = taken_.load(std::memory_order_relaxed);
    taken_seen_.store(taken, std::memory_order_relaxed);
    if (exceeds(before, taken)) {
      reserved_.fetch_sub(1, std::memory_order_seq_cst);
      return Push::kQueueFull;
    }
  }
  if (cost_bytes == 0) return Push::kAccepted;
  const std::size_t bound = max_bytes();  // Read once: set_bounds may lower it meanwhile.
  std::size_t bytes = bytes_.load(std::memory_order_relaxed);
  do {
    if (bytes > bound || cost_bytes > bound - bytes) {
      reserved_.fetch_sub(1, std::memory_order_seq_cst);
      return Push::kBytesFull;
    }
  } while (!bytes_.compare_exchange_weak(bytes, bytes + cost_bytes, std::memory_order_relaxed));
  return Push::kAccepted;
}

void AdmissionQueue::unreserve(std::size_t cost_bytes) noexcept {
  if (cost_bytes != 0) bytes_.fetch_sub(cost_bytes, std::memory_order_relaxed);
  reserved_.fetch_sub(1, std::memory_order_seq_cst);
}

void AdmissionQueue::free_room(std::size_t tasks, std::size_t bytes) noexcept {
  if (bytes != 0) bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  // A load and a store: only the holder of the lock writes.
  taken_.store(taken_.load(std::memory_order_relaxed) + tasks, std::memory_order_seq_cst);
}

bool AdmissionQueue::push(TaskNode& node) noexcept {
  // Before the push: whoever sorts the task afterwards has seen the word, or sees it next time.
  if (node.priority > Priority::kNormal || node.deadline != Clock::time_point::max()) {
    urgent_.store(true, std::memory_order_seq_cst);
  }
  QueueLinks* head = inbox_.load(std::memory_order_relaxed);
  do {
    if (head == &closed_mark) return false;
    node.next = head;
    // Release: pairs with the acquire in sort_inbox; the node is whole before it is seen.
  } while (!inbox_.compare_exchange_weak(head, &node, std::memory_order_seq_cst,
                                         std::memory_order_relaxed));
  return true;
}

bool AdmissionQueue::inbox_empty() const noexcept {
  const QueueLinks* head = inbox_.load(std::memory_order_seq_cst);
  return head == nullptr || head == &closed_mark;
}

void AdmissionQueue::set_bounds(std::size_t max_tasks, std::size_t max_bytes) noexcept {
  max_tasks_.store(max_tasks, std::memory_order_relaxed);
  max_bytes_.store(max_bytes, std::memory_order_relaxed);
}

void AdmissionQueue::sort_inbox(NodeChain& cancelled, NodeChain& discarded) noexcept {
  // Before the exchange: a word that comes after this is for a task that is not in it.
  if (urgent_.load(std::memory_order_relaxed)) urgent_.store(false, std::memory_order_seq_cst);
  if (inbox_empty()) return;
  QueueLinks* newest = inbox_.exchange(nullptr, std::memory_order_seq_cst);
  // Not closed: close() empties the inbox under the lock that is held here.
  QueueLinks* oldest = nullptr;
  while (newest != nullptr) {
    QueueLinks* const older = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = older;
  }
  while (oldest != nullptr) {
    auto& node = *static_cast<TaskNode*>(oldest);
    oldest = oldest->next;
    TaskNode::Phase inbox = TaskNode::Phase::kInbox;
    if (!node.phase.compare_exchange_strong(inbox, TaskNode::Phase::kQueued,
                                            std::memory_order_seq_cst)) {
      // Cancelled while in the inbox, by a thread that did not need the lock for it.
      free_room(1, node.cost_bytes);
      discarded.push(node);
      continue;
    }
    // A stop_token may have fired before the task was ready to be claimed: then it only left word.
    if (node.cancel_requested.load(std::memory_order_seq_cst) &&
        node.claim(TaskNode::Phase::kQueued)) {
      free_room(1, node.cost_bytes);
      cancelled.push(node);
      continue;
    }
    node.sequence = sequence_++;
    insert(node);
  }
}

void AdmissionQueue::insert(TaskNode& node) noexcept {
  Line& place = line(node);
  if (node.deadline == Clock::time_point::max()) {
    // Nearly always at the end; only one that is put back goes before others, at the front.
    auto after = place.fifo.end();
    if (!place.fifo.empty() && place.fifo.back().sequence > node.sequence) {
      after = place.fifo.begin();
      while (after->sequence < node.sequence) ++after;
    }
    place.fifo.insert(after, node);
  } else {
    place.tree.insert(node);
  }
  filled_[priority(node)] |= LineBits{1} << line_number(node);
  count(node, 1);
  node.linked = true;
}

void AdmissionQueue::unlink(TaskNode& node) noexcept {
  Line& place = line(node);
  if (node.deadline == Clock::time_point::max()) {
    place.fifo.erase(place.fifo.iterator_to(node));
  } else {
    place.tree.erase(place.tree.iterator_to(node));
  }
  if (place.empty()) filled_[priority(node)] &= ~(LineBits{1} << line_number(node));
  count(node, ~std::size_t{0});
  node.linked = false;
}

void AdmissionQueue::count(const TaskNode& node, std::size_t change) noexcept {
  // A load and a store: only the holder of the lock writes.
  const auto add = [change](std::atomic<std::size_t>& counter) {
    counter.store(counter.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
  };
  add(ordered_[node.classes.lane()]);
  if (node.needs_memory) add(for_memory_);
}

AdmissionQueue::LineBits AdmissionQueue::blocked_lines(unsigned blocked_lanes, Doors doors,
                                                       Memory memory) noexcept {
  constexpr LineBits kLane = (LineBits{1} << policies::kLanes) - 1;
  constexpr LineBits kEveryKind = 1 | (LineBits{1} << policies::kLanes) |
                                  (LineBits{1} << (2 * policies::kLanes)) |
                                  (LineBits{1} << (3 * policies::kLanes));
  LineBits blocked = blocked_lanes * kEveryKind;
  // The kinds are: submit, run, submit with memory, run with memory.
  if (doors == Doors::kRunOnly) blocked |= kLane | (kLane << (2 * policies::kLanes));
  if (memory == Memory::kNeedNone) {
    blocked |= (kLane << (2 * policies::kLanes)) | (kLane << (3 * policies::kLanes));
  }
  return blocked;
}

TaskNode* AdmissionQueue::best(unsigned blocked_lanes, Doors doors, Memory memory) const noexcept {
  const LineBits blocked = blocked_lines(blocked_lanes, doors, memory);
  for (std::size_t p = kPriorities; p-- > 0;) {
    const TaskNode* found = nullptr;
    for (LineBits lines = filled_[p] & ~blocked; lines != 0; lines &= lines - 1) {
      const TaskNode& first = lines_[p][static_cast<std::size_t>(std::countr_zero(lines))].first();
      if (found == nullptr || internal::EarlierDeadline{}(first, *found)) found = &first;
    }
    if (found != nullptr) return const_cast<TaskNode*>(found);
  }
  return nullptr;
}

TaskNode* AdmissionQueue::worst_below(Priority limit) const noexcept {
  for (std::size_t p = 0; p < static_cast<std::size_t>(limit); ++p) {
    const TaskNode* found = nullptr;
    for (LineBits lines = filled_[p]; lines != 0; lines &= lines - 1) {
      const TaskNode& last = lines_[p][static_cast<std::size_t>(std::countr_zero(lines))].last();
      if (found == nullptr || internal::EarlierDeadline{}(*found, last)) found = &last;
    }
    if (found != nullptr) return const_cast<TaskNode*>(found);
  }
  return nullptr;
}

namespace {

/// Calls visit with the first deadline of every line that has one.
template <typename Lines, typename Visit>
void each_earliest(const Lines& lines, Visit visit) {
  for (const auto& of_priority : lines) {
    for (const auto& line : of_priority) {
      if (!line.tree.empty()) visit(*line.tree.begin());
    }
  }
}

}  // namespace

TaskNode* AdmissionQueue::expired(Clock::time_point now) const noexcept {
  const TaskNode* found = nullptr;
  each_earliest(lines_, [&](const TaskNode& node) {
    if (node.deadline <= now) found = &node;
  });
  return const_cast<TaskNode*>(found);
}

Clock::time_point AdmissionQueue::next_deadline() const noexcept {
  Clock::time_point earliest = Clock::time_point::max();
  each_earliest(lines_, [&](const TaskNode& node) {
    if (node.deadline < earliest) earliest = node.deadline;
  });
  return earliest;
}

bool AdmissionQueue::take(TaskNode& node) noexcept {
  unlink(node);
  free_room(1, node.cost_bytes);
  if (node.claim(TaskNode::Phase::kQueued)) return true;
  ++to_withdraw_;
  return false;
}

void AdmissionQueue::put_back(TaskNode& node) noexcept {
  reserved_.fetch_add(1, std::memory_order_seq_cst);
  bytes_.fetch_add(node.cost_bytes, std::memory_order_relaxed);
  node.phase.store(TaskNode::Phase::kQueued, std::memory_order_seq_cst);
  insert(node);
}

void AdmissionQueue::withdraw(TaskNode& node) noexcept {
  if (node.linked) {
    unlink(node);
    free_room(1, node.cost_bytes);
  } else {
    --to_withdraw_;
  }
}

bool AdmissionQueue::make_room(Priority limit, std::size_t cost_bytes, NodeChain& shed) noexcept {
  if (cost_bytes > max_bytes()) return false;  // And the sum below must not wrap.
  // Reserved before it is freed: a submission that comes in between finds the queue fuller by this
  // task, and so cannot take the room that others give up for it.
  reserved_.fetch_add(1, std::memory_order_seq_cst);
  bytes_.fetch_add(cost_bytes, std::memory_order_relaxed);
  std::size_t freed_tasks = 0;
  std::size_t freed_bytes = 0;
  NodeChain victims;
  const auto enough = [&] {
    return tasks() - freed_tasks <= max_tasks() && bytes() - freed_bytes <= max_bytes();
  };
  while (!enough()) {
    TaskNode* const worst = worst_below(limit);
    if (worst == nullptr) {
      // The last one taken out was the first of them in order, so this restores the order.
      while (!victims.empty()) insert(victims.pop());
      unreserve(cost_bytes);
      return false;
    }
    unlink(*worst);
    freed_tasks += 1;
    freed_bytes += worst->cost_bytes;
    victims.push(*worst);
  }
  free_room(freed_tasks, freed_bytes);
  while (!victims.empty()) {
    TaskNode& victim = victims.pop();
    if (victim.claim(TaskNode::Phase::kQueued)) {
      shed.push(victim);
    } else {
      ++to_withdraw_;
    }
  }
  return true;
}

void AdmissionQueue::close(NodeChain& cancelled, NodeChain& discarded) noexcept {
  for (;;) {
    sort_inbox(cancelled, discarded);
    QueueLinks* expected = nullptr;
    if (inbox_.compare_exchange_strong(expected, &closed_mark, std::memory_order_seq_cst) ||
        expected == &closed_mark) {
      return;
    }
  }
}

}  // namespace streamgate::executor
