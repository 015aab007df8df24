// SPDX-License-Identifier: Apache-2.0
//
// Where admitted-to-be tasks wait, in the order in which they shall go: priority, then deadline,
// then arrival. It orders and bounds; it knows neither gate nor clock, so that a simulation uses
// the same one.
#pragma once

#include <streamgate/executor/task.h>
#include <streamgate/policies/config.h>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>

namespace streamgate::executor {

/// A chain of nodes through QueueLinks::next, owned by whoever holds its head.
class NodeChain {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  void push(TaskNode& node) noexcept {
    node.next = head_;
    head_ = &node;
  }
  [[nodiscard]] TaskNode& pop() noexcept {
    auto* node = static_cast<TaskNode*>(head_);
    head_ = node->next;
    return *node;
  }

 private:
  QueueLinks* head_ = nullptr;
};

namespace internal {

template <typename Node>
struct ListTraits {
  using node = QueueLinks;
  using node_ptr = QueueLinks*;
  using const_node_ptr = const QueueLinks*;
  static node_ptr get_next(const_node_ptr n) { return n->next; }
  static void set_next(node_ptr n, node_ptr next) { n->next = next; }
  static node_ptr get_previous(const_node_ptr n) { return n->previous; }
  static void set_previous(node_ptr n, node_ptr previous) { n->previous = previous; }
};

template <typename Node>
struct TreeTraits {
  using node = QueueLinks;
  using node_ptr = QueueLinks*;
  using const_node_ptr = const QueueLinks*;
  using color = bool;
  static node_ptr get_parent(const_node_ptr n) { return n->parent; }
  static void set_parent(node_ptr n, node_ptr parent) { n->parent = parent; }
  static node_ptr get_left(const_node_ptr n) { return n->previous; }
  static void set_left(node_ptr n, node_ptr left) { n->previous = left; }
  static node_ptr get_right(const_node_ptr n) { return n->next; }
  static void set_right(node_ptr n, node_ptr right) { n->next = right; }
  static color get_color(const_node_ptr n) { return n->red; }
  static void set_color(node_ptr n, color c) { n->red = c; }
  static color black() { return false; }
  static color red() { return true; }
};

template <typename Traits>
struct TaskTraits {
  using node_traits = Traits;
  using node_ptr = QueueLinks*;
  using const_node_ptr = const QueueLinks*;
  using value_type = TaskNode;
  using pointer = TaskNode*;
  using const_pointer = const TaskNode*;
  static constexpr boost::intrusive::link_mode_type link_mode = boost::intrusive::normal_link;
  static node_ptr to_node_ptr(value_type& value) { return &value; }
  static const_node_ptr to_node_ptr(const value_type& value) { return &value; }
  static pointer to_value_ptr(node_ptr n) { return static_cast<TaskNode*>(n); }
  static const_pointer to_value_ptr(const_node_ptr n) { return static_cast<const TaskNode*>(n); }
};

struct EarlierDeadline {
  bool operator()(const TaskNode& a, const TaskNode& b) const noexcept {
    return a.deadline != b.deadline ? a.deadline < b.deadline : a.sequence < b.sequence;
  }
};

}  // namespace internal

/// The waiting tasks of one device.
///
/// Thread-safety: push, tasks, bytes and must_wait are lock-free and thread-safe; everything marked
/// "REQUIRES: lock" is called with mutex() held. Ownership: holds nodes by pointer; a node stays
/// until it is taken out. Blocking: only mutex(), and nobody runs user code under it.
/// Failure: push says why not.
///
/// A submission is one compare-exchange onto the inbox. Whoever holds the lock next moves the inbox
/// into the lanes: for each op class set, door, priority and whether memory is needed, a FIFO of
/// tasks without a deadline (the common case, constant time) and a tree of those with one.
class AdmissionQueue {
 public:
  enum class Push : std::uint8_t { kAccepted, kQueueFull, kBytesFull, kClosed };

  AdmissionQueue(std::size_t max_tasks, std::size_t max_bytes) noexcept;
  ~AdmissionQueue();
  AdmissionQueue(const AdmissionQueue&) = delete;
  AdmissionQueue& operator=(const AdmissionQueue&) = delete;

  /// Reserves room for a task in tasks and bytes, or says which is short.
  [[nodiscard]] Push reserve(std::size_t cost_bytes) noexcept;
  void unreserve(std::size_t cost_bytes) noexcept;
  /// Puts a task for which room is reserved into the inbox; false, with nothing done, once closed.
  [[nodiscard]] bool push(TaskNode& node) noexcept;

  /// Tasks that wait, those in the inbox included. Zero only if, at some moment of the call, none
  /// did.
  [[nodiscard]] std::size_t tasks() const noexcept {
    const std::size_t taken = taken_.load(std::memory_order_seq_cst);
    return reserved_.load(std::memory_order_seq_cst) - taken;
  }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return bytes_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t max_tasks() const noexcept {
    return max_tasks_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t max_bytes() const noexcept {
    return max_bytes_.load(std::memory_order_relaxed);
  }
  void set_bounds(std::size_t max_tasks, std::size_t max_bytes) noexcept;
  /// Tasks of that lane that have their place; those still in the inbox are not counted.
  [[nodiscard]] std::size_t ordered(std::size_t lane) const noexcept {
    return ordered_[lane].load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool inbox_empty() const noexcept;

  [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }

  /// Whether the inbox must be sorted before `next`, the best of the queue, goes: because it may
  /// hold a task that goes first. REQUIRES: lock.
  [[nodiscard]] bool must_sort_before(const TaskNode& next) const noexcept {
    return next.priority < Priority::kNormal || urgent_.load(std::memory_order_relaxed);
  }

  /// Moves the inbox into the lanes. Tasks that were ended or asked to end on the way are not
  /// queued: those that another thread has ended already go to `discarded`, those that were asked
  /// to, claimed, to `cancelled`. REQUIRES: lock.
  void sort_inbox(NodeChain& cancelled, NodeChain& discarded) noexcept;

  /// Which doors best may choose from.
  enum class Doors : std::uint8_t { kBoth, kRunOnly };
  /// Whether best may choose a task that needs memory of the budget.
  enum class Memory : std::uint8_t { kAny, kNeedNone };
  /// The first task in order whose lane is not in `blocked_lanes` (bits), or null. It stays queued.
  /// REQUIRES: lock.
  [[nodiscard]] TaskNode* best(unsigned blocked_lanes, Doors doors,
                               Memory memory = Memory::kAny) const noexcept;

  /// How far best_that_fits looks into a line.
  static constexpr std::size_t kLookAhead = 32;
  /// Of the tasks that need memory, the first in order that `fits`, as far as it looks: what may go
  /// ahead of one that does not. REQUIRES: lock.
  template <typename Fits>
  [[nodiscard]] TaskNode* best_that_fits(unsigned blocked_lanes, Doors doors,
                                         const Fits& fits) const noexcept;
  /// Whether `a` goes before `b`. REQUIRES: both have their place; lock.
  [[nodiscard]] static bool goes_before(const TaskNode& a, const TaskNode& b) noexcept {
    return a.priority != b.priority ? a.priority > b.priority : internal::EarlierDeadline{}(a, b);
  }
  /// Tasks in the lanes that need memory.
  [[nodiscard]] std::size_t ordered_for_memory() const noexcept {
    return for_memory_.load(std::memory_order_relaxed);
  }

  /// Makes room for a task of that priority and cost, and reserves it, by taking out tasks of lower
  /// priority, the last in order first, to `shed`, claimed. False, with nothing changed, when even
  /// all of them would not do. REQUIRES: lock.
  [[nodiscard]] bool make_room(Priority priority, std::size_t cost_bytes, NodeChain& shed) noexcept;

  /// Any task whose deadline is not after `now`, or null. REQUIRES: lock.
  [[nodiscard]] TaskNode* expired(Clock::time_point now) const noexcept;
  /// The earliest deadline; time_point::max() when none waits. REQUIRES: lock.
  [[nodiscard]] Clock::time_point next_deadline() const noexcept;

  /// Takes a task out that has its place, gives its room back, and says whether the caller claimed
  /// it. If not, somebody else has, to cancel it, and will come for it with withdraw.
  /// REQUIRES: lock.
  [[nodiscard]] bool take(TaskNode& node) noexcept;
  /// Takes a task in again that the caller took: it is queued at its old place, whether or not its
  /// room has been given to another meanwhile. REQUIRES: lock.
  void put_back(TaskNode& node) noexcept;
  /// Takes a task out that the caller claimed before it had the lock. REQUIRES: lock.
  void withdraw(TaskNode& node) noexcept;
  /// Nothing is queued, and no withdraw is still to come. REQUIRES: lock.
  [[nodiscard]] bool quiet() const noexcept { return to_withdraw_ == 0 && tasks() == 0; }

  /// Sorts the inbox a last time; from now on push says no. REQUIRES: lock.
  void close(NodeChain& cancelled, NodeChain& discarded) noexcept;

 private:
  /// Two doors, each with lines of tasks that need no memory and of tasks that do, so that neither
  /// is in the other's way: a line's number is its kind times kLanes plus its lane.
  static constexpr std::size_t kKinds = 4;
  static constexpr std::size_t kLines = kKinds * policies::kLanes;
  using LineBits = std::uint32_t;
  static_assert(kLines <= std::numeric_limits<LineBits>::digits);
  using Fifo = boost::intrusive::list<
      TaskNode,
      boost::intrusive::value_traits<internal::TaskTraits<internal::ListTraits<TaskNode>>>,
      boost::intrusive::constant_time_size<false>>;
  using Tree = boost::intrusive::multiset<
      TaskNode,
      boost::intrusive::value_traits<internal::TaskTraits<internal::TreeTraits<TaskNode>>>,
      boost::intrusive::compare<internal::EarlierDeadline>,
      boost::intrusive::constant_time_size<false>>;
  struct Line {
    Fifo fifo;
    Tree tree;
    [[nodiscard]] bool empty() const noexcept { return fifo.empty() && tree.empty(); }
    [[nodiscard]] const TaskNode& first() const noexcept {
      return tree.empty() ? fifo.front() : *tree.begin();
    }
    [[nodiscard]] const TaskNode& last() const noexcept {
      return fifo.empty() ? *tree.rbegin() : fifo.back();
    }
  };

  [[nodiscard]] Line& line(const TaskNode& node) noexcept {
    return lines_[priority(node)][line_number(node)];
  }
  static std::size_t line_number(const TaskNode& n) noexcept {
    const std::size_t kind = (n.needs_memory ? 2U : 0U) + static_cast<std::size_t>(n.door);
    return kind * policies::kLanes + n.classes.lane();
  }
  [[nodiscard]] static LineBits blocked_lines(unsigned blocked_lanes, Doors doors,
                                              Memory memory) noexcept;
  static std::size_t priority(const TaskNode& n) noexcept {
    return static_cast<std::size_t>(n.priority);
  }
  void insert(TaskNode& node) noexcept;
  void unlink(TaskNode& node) noexcept;
  [[nodiscard]] TaskNode* worst_below(Priority priority) const noexcept;
  void count(const TaskNode& node, std::size_t change) noexcept;
  void free_room(std::size_t tasks, std::size_t bytes) noexcept;

  // Every submission writes these, and workers rarely look: the submitters' cache line.
  alignas(64) std::atomic<QueueLinks*> inbox_{nullptr};
  std::atomic<std::size_t> reserved_{0};    ///< Tasks ever reserved and not unreserved.
  std::atomic<std::size_t> taken_seen_{0};  ///< taken_, as some submission last saw it.
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> max_tasks_;
  std::atomic<std::size_t> max_bytes_;
  /// Whether the inbox may hold a task that goes before an ordinary one (kNormal, no deadline).
  alignas(64) std::atomic<bool> urgent_{false};
  // The holder of the lock writes these: the workers' cache lines.
  alignas(64) std::mutex mutex_;
  std::atomic<std::size_t> taken_{0};  ///< Tasks ever taken out; what waits is the difference.
  std::array<std::atomic<std::size_t>, policies::kLanes> ordered_{};
  std::uint64_t sequence_ = 0;
  std::size_t to_withdraw_ = 0;
  std::atomic<std::size_t> for_memory_{0};
  /// A bit for each line that has tasks, by priority: what best looks at first.
  std::array<LineBits, kPriorities> filled_{};
  std::array<std::array<Line, kLines>, kPriorities> lines_;
};

template <typename Fits>
TaskNode* AdmissionQueue::best_that_fits(unsigned blocked_lanes, Doors doors,
                                         const Fits& fits) const noexcept {
  constexpr LineBits kNeedNoMemory = (LineBits{1} << (2 * policies::kLanes)) - 1;
  const LineBits blocked = blocked_lines(blocked_lanes, doors, Memory::kAny) | kNeedNoMemory;
  for (std::size_t p = kPriorities; p-- > 0;) {
    const TaskNode* found = nullptr;
    for (LineBits lines = filled_[p] & ~blocked; lines != 0; lines &= lines - 1) {
      const Line& line = lines_[p][static_cast<std::size_t>(std::countr_zero(lines))];
      std::size_t left = kLookAhead;
      const auto look = [&](const auto& tasks) {
        for (auto task = tasks.begin(); task != tasks.end() && left != 0; ++task, --left) {
          if (found != nullptr && !internal::EarlierDeadline{}(*task, *found)) break;
          if (!fits(*task)) continue;
          found = &*task;
          break;
        }
      };
      look(line.tree);
      look(line.fifo);
    }
    if (found != nullptr) return const_cast<TaskNode*>(found);
  }
  return nullptr;
}

}  // namespace streamgate::executor
