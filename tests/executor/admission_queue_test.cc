// SPDX-License-Identifier: Apache-2.0
//
// The order of the waiting tasks and the queue's bounds, with nodes that never run.
#include <streamgate/executor/internal/admission_queue.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "../support/event.h"

namespace streamgate::executor {
namespace {

using policies::kLanes;
using policies::OpClass;
using policies::OpClassSet;
using testing::Countdown;

using Doors = AdmissionQueue::Doors;
using Phase = TaskNode::Phase;
using Push = AdmissionQueue::Push;

constexpr Clock::time_point kNever = Clock::time_point::max();

Clock::time_point at(int seconds) { return Clock::time_point{} + std::chrono::seconds(seconds); }

/// A node's core is only ever called by an executor; there is none here.
Core& no_core() {
  alignas(64) static std::array<std::byte, 64> nothing;
  return reinterpret_cast<Core&>(nothing);
}

struct Node final : TaskNode {
  explicit Node(const TaskOptions& options = {}, Door from = Door::kSubmit)
      : TaskNode(options, options.op_class.value_or(OpClass::kRaw), no_core(), from) {}
  Outcome invoke(TaskContext&) noexcept override { return Outcome::kOk; }
  void fail(std::exception_ptr) noexcept override {}
  Waiter* publish(Outcome) noexcept override { return nullptr; }
};

/// A queue, and the steps that its users take, each under its lock.
class AdmissionQueueTest : public ::testing::Test {
 protected:
  explicit AdmissionQueueTest(std::size_t max_tasks = 1'000, std::size_t max_bytes = 1'000'000)
      : queue(max_tasks, max_bytes) {}
  ~AdmissionQueueTest() override {
    sort();
    while (take_best() != nullptr) {
    }
  }

  Node& make(const TaskOptions& options = {}, TaskNode::Door door = TaskNode::Door::kSubmit) {
    return nodes.emplace_back(options, door);
  }
  Push push(Node& node) {
    const Push room = queue.reserve(node.cost_bytes);
    if (room != Push::kAccepted) return room;
    if (queue.push(node)) return Push::kAccepted;
    queue.unreserve(node.cost_bytes);
    return Push::kClosed;
  }
  Node& add(const TaskOptions& options = {}, TaskNode::Door door = TaskNode::Door::kSubmit) {
    Node& node = make(options, door);
    EXPECT_EQ(push(node), Push::kAccepted);
    return node;
  }
  void sort() {
    const std::lock_guard lock(queue.mutex());
    queue.sort_inbox(cancelled, discarded);
  }
  TaskNode* best(unsigned blocked_lanes = 0, Doors doors = Doors::kBoth) {
    const std::lock_guard lock(queue.mutex());
    return queue.best(blocked_lanes, doors);
  }
  TaskNode* take_best() {
    const std::lock_guard lock(queue.mutex());
    TaskNode* const node = queue.best(0, Doors::kBoth);
    EXPECT_TRUE(node == nullptr || queue.take(*node));
    return node;
  }
  bool make_room(Priority priority, std::size_t cost_bytes) {
    const std::lock_guard lock(queue.mutex());
    return queue.make_room(priority, cost_bytes, shed);
  }
  static std::vector<TaskNode*> content(NodeChain& chain) {
    std::vector<TaskNode*> nodes;
    while (!chain.empty()) nodes.push_back(&chain.pop());
    return nodes;
  }

  std::deque<Node> nodes;
  AdmissionQueue queue;
  NodeChain cancelled;
  NodeChain discarded;
  NodeChain shed;
};

// ---- order ----

TEST_F(AdmissionQueueTest, EmptyQueueHasNothingToGive) {
  EXPECT_EQ(queue.tasks(), 0U);
  EXPECT_EQ(queue.bytes(), 0U);
  EXPECT_TRUE(queue.inbox_empty());
  EXPECT_EQ(best(), nullptr);
  const std::lock_guard lock(queue.mutex());
  EXPECT_TRUE(queue.quiet());
  EXPECT_EQ(queue.expired(kNever), nullptr);
  EXPECT_EQ(queue.next_deadline(), kNever);
}

TEST_F(AdmissionQueueTest, EqualsGoInTheOrderOfTheirArrival) {
  for (int i = 0; i < 100; ++i) add();
  sort();
  for (Node& expected : nodes) EXPECT_EQ(take_best(), &expected);
}

TEST_F(AdmissionQueueTest, ArrivalCountsAcrossSortsDoorsAndLanes) {
  for (int i = 0; i < 40; ++i) {
    add({.op_class = OpClassSet::from_lane(static_cast<std::size_t>(i) % kLanes)},
        i % 3 == 0 ? TaskNode::Door::kRun : TaskNode::Door::kSubmit);
    if (i % 7 == 0) sort();
  }
  sort();
  for (Node& expected : nodes) EXPECT_EQ(take_best(), &expected);
}

TEST_F(AdmissionQueueTest, HigherPriorityGoesFirst) {
  Node& low = add({.priority = Priority::kLow});
  Node& normal = add();
  Node& highest = add({.priority = Priority::kHighest});
  Node& lowest = add({.priority = Priority::kLowest, .deadline = at(1)});
  Node& high = add({.priority = Priority::kHigh});
  sort();
  for (Node* expected : {&highest, &high, &normal, &low, &lowest}) EXPECT_EQ(take_best(), expected);
}

TEST_F(AdmissionQueueTest, EarlierDeadlineGoesFirstAndNoDeadlineLast) {
  Node& never = add();
  Node& late = add({.deadline = at(30)});
  Node& early = add({.deadline = at(10)});
  Node& early_too = add({.deadline = at(10)});
  Node& middle = add({.deadline = at(20)});
  sort();
  for (Node* expected : {&early, &early_too, &middle, &late, &never}) {
    EXPECT_EQ(take_best(), expected);
  }
}

TEST_F(AdmissionQueueTest, OrderIsPriorityThenDeadlineThenArrivalAcrossLanesAndDoors) {
  constexpr std::uint32_t kSeed = 4711;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  for (int i = 0; i < 900; ++i) {
    add({.op_class = OpClassSet::from_lane(random() % kLanes),
         .priority = static_cast<Priority>(random() % kPriorities),
         .deadline = random() % 2 == 0 ? kNever : at(static_cast<int>(random() % 50))},
        random() % 2 == 0 ? TaskNode::Door::kRun : TaskNode::Door::kSubmit);
    if (random() % 50 == 0) sort();
  }
  sort();
  std::vector<TaskNode*> expected;
  for (Node& node : nodes) expected.push_back(&node);
  std::stable_sort(expected.begin(), expected.end(), [](const TaskNode* a, const TaskNode* b) {
    return a->priority != b->priority ? a->priority > b->priority : a->deadline < b->deadline;
  });
  for (TaskNode* node : expected) ASSERT_EQ(take_best(), node);
  EXPECT_EQ(best(), nullptr);
}

TEST_F(AdmissionQueueTest, OrderHoldsForThoseLeftWhenOthersAreTakenFromTheMiddle) {
  std::mt19937 random(31);
  for (int i = 0; i < 300; ++i) {
    add({.priority = static_cast<Priority>(random() % kPriorities),
         .deadline = random() % 2 == 0 ? kNever : at(static_cast<int>(random() % 50))});
  }
  sort();
  std::vector<TaskNode*> left;
  for (Node& node : nodes) {
    if (random() % 2 == 0) {
      left.push_back(&node);
      continue;
    }
    const std::lock_guard lock(queue.mutex());
    EXPECT_TRUE(queue.take(node));
  }
  std::stable_sort(left.begin(), left.end(), [](const TaskNode* a, const TaskNode* b) {
    return a->priority != b->priority ? a->priority > b->priority : a->deadline < b->deadline;
  });
  for (TaskNode* node : left) ASSERT_EQ(take_best(), node);
}

TEST_F(AdmissionQueueTest, BlockedLanesAreLeftOut) {
  Node& graph = add({.op_class = OpClass::kGraph, .priority = Priority::kHighest});
  Node& raw = add();
  sort();
  EXPECT_EQ(best(), &graph);
  EXPECT_EQ(best(1U << OpClassSet(OpClass::kGraph).lane()), &raw);
  EXPECT_EQ(best((1U << kLanes) - 1), nullptr);
}

TEST_F(AdmissionQueueTest, CallersAloneCanBeAskedFor) {
  add({.priority = Priority::kHighest});
  Node& low = add({.priority = Priority::kLow}, TaskNode::Door::kRun);
  Node& high = add({.priority = Priority::kHigh}, TaskNode::Door::kRun);
  sort();
  EXPECT_EQ(best(0, Doors::kRunOnly), &high);
  const std::lock_guard lock(queue.mutex());
  EXPECT_TRUE(queue.take(high));
  EXPECT_EQ(queue.best(0, Doors::kRunOnly), &low);
}

TEST_F(AdmissionQueueTest, InboxIsLookedAtBeforeAnOrdinaryTaskOnlyWhenItMayHoldAMoreUrgentOne) {
  const auto must_sort = [&](const TaskNode& node) {
    const std::lock_guard lock(queue.mutex());
    return queue.must_sort_before(node);
  };
  Node& normal = add();
  sort();
  EXPECT_FALSE(must_sort(normal));
  add();
  EXPECT_FALSE(must_sort(normal)) << "what is in the inbox came later";
  add({.priority = Priority::kHigh});
  EXPECT_TRUE(must_sort(normal));
  sort();
  EXPECT_FALSE(must_sort(normal));
  add({.deadline = at(1)});
  EXPECT_TRUE(must_sort(normal));
  sort();
  Node& low = add({.priority = Priority::kLow});
  sort();
  add();
  EXPECT_TRUE(must_sort(low)) << "an ordinary one goes before it";
}

TEST_F(AdmissionQueueTest, LanesCountWhatHasItsPlaceInThem) {
  add({.op_class = OpClass::kKernel});
  add({.op_class = OpClass::kKernel});
  add({.op_class = OpClass::kExclusive});
  EXPECT_EQ(queue.ordered(1), 0U) << "still in the inbox";
  EXPECT_FALSE(queue.inbox_empty());
  EXPECT_EQ(queue.tasks(), 3U);
  sort();
  EXPECT_TRUE(queue.inbox_empty());
  EXPECT_EQ(queue.ordered(1), 2U);
  EXPECT_EQ(queue.ordered(4), 1U);
  EXPECT_NE(take_best(), nullptr);
  EXPECT_EQ(queue.ordered(1), 1U);
}

// ---- deadlines ----

TEST_F(AdmissionQueueTest, NextDeadlineIsTheEarliestOfAllLines) {
  add();
  add({.op_class = OpClass::kGraph, .priority = Priority::kLowest, .deadline = at(20)});
  add({.op_class = OpClass::kRaw, .priority = Priority::kHighest, .deadline = at(30)});
  Node& first = add({.op_class = OpClass::kKernel, .deadline = at(10)}, TaskNode::Door::kRun);
  sort();
  const std::lock_guard lock(queue.mutex());
  EXPECT_EQ(queue.next_deadline(), at(10));
  EXPECT_TRUE(queue.take(first));
  EXPECT_EQ(queue.next_deadline(), at(20));
}

TEST_F(AdmissionQueueTest, ExpiredAreThoseWhoseDeadlineIsNotAfterNow) {
  Node& ten = add({.op_class = OpClass::kGraph, .deadline = at(10)});
  Node& twenty = add({.priority = Priority::kLow, .deadline = at(20)});
  add();
  sort();
  const std::lock_guard lock(queue.mutex());
  EXPECT_EQ(queue.expired(at(9)), nullptr);
  EXPECT_EQ(queue.expired(at(10)), &ten);
  EXPECT_TRUE(queue.take(ten));
  EXPECT_EQ(queue.expired(at(19)), nullptr);
  EXPECT_EQ(queue.expired(at(99)), &twenty);
}

// ---- bounds ----

class SmallQueueTest : public AdmissionQueueTest {
 protected:
  SmallQueueTest() : AdmissionQueueTest(4, 100) {}
};

TEST_F(SmallQueueTest, TaskBeyondTheBoundIsRefusedAndTakesNothing) {
  for (int i = 0; i < 4; ++i) add();
  Node& one_more = make();
  EXPECT_EQ(push(one_more), Push::kQueueFull);
  EXPECT_EQ(queue.tasks(), 4U);
  sort();
  EXPECT_EQ(push(one_more), Push::kQueueFull) << "places count, wherever the tasks are";
  EXPECT_NE(take_best(), nullptr);
  EXPECT_EQ(push(one_more), Push::kAccepted);
  sort();
}

TEST_F(SmallQueueTest, BytesBeyondTheBoundAreRefusedAndTakeNothing) {
  add({.cost_bytes = 60});
  Node& big = make({.cost_bytes = 41});
  EXPECT_EQ(push(big), Push::kBytesFull);
  EXPECT_EQ(queue.tasks(), 1U);
  EXPECT_EQ(queue.bytes(), 60U);
  Node& fits = make({.cost_bytes = 40});
  EXPECT_EQ(push(fits), Push::kAccepted);
  EXPECT_EQ(queue.bytes(), 100U);
  Node& nothing = make();
  EXPECT_EQ(push(nothing), Push::kAccepted) << "a task of no bytes needs none";
  sort();
  EXPECT_NE(take_best(), nullptr);
  EXPECT_EQ(queue.bytes(), 40U);
}

TEST_F(SmallQueueTest, CostBeyondEveryBoundIsRefused) {
  add({.cost_bytes = 1});
  for (const std::size_t cost : {std::size_t{101}, ~std::size_t{0}, ~std::size_t{0} - 1}) {
    Node& absurd = make({.cost_bytes = cost});
    EXPECT_EQ(push(absurd), Push::kBytesFull) << cost;
  }
  EXPECT_EQ(queue.bytes(), 1U);
  EXPECT_EQ(queue.tasks(), 1U);
}

TEST_F(SmallQueueTest, MovedBoundsCountForTheNextTask) {
  for (int i = 0; i < 4; ++i) add({.cost_bytes = 10});
  queue.set_bounds(5, 100);
  add();
  queue.set_bounds(2, 20);
  EXPECT_EQ(queue.max_tasks(), 2U);
  EXPECT_EQ(queue.max_bytes(), 20U);
  Node& refused = make({.cost_bytes = 1});
  EXPECT_EQ(push(refused), Push::kQueueFull);
  EXPECT_EQ(queue.tasks(), 5U) << "those who wait stay";
  sort();
  for (int i = 0; i < 4; ++i) EXPECT_NE(take_best(), nullptr);
  EXPECT_EQ(push(refused), Push::kAccepted);
  sort();
}

TEST_F(AdmissionQueueTest, BoundsAreStrictUnderConcurrentPushes) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 4'000;
  constexpr std::size_t kMaxTasks = 50;
  constexpr std::size_t kMaxBytes = 120;
  AdmissionQueue tight(kMaxTasks, kMaxBytes);
  // What is surely in the queue: counted after a push that succeeded, uncounted before a take.
  std::atomic<std::size_t> inside{0};
  std::atomic<std::size_t> bytes_inside{0};
  std::atomic<std::size_t> accepted{0};
  std::atomic<std::size_t> refused{0};
  std::vector<std::deque<Node>> own(kThreads);
  Countdown start(kThreads + 1);
  std::atomic<std::size_t> at_work{kThreads};
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      EXPECT_TRUE(start.arrive_and_wait());
      for (std::size_t i = 0; i < kEach; ++i) {
        Node& node = own[t].emplace_back(TaskOptions{.cost_bytes = (i + t) % 6});
        if (tight.reserve(node.cost_bytes) != Push::kAccepted) {
          refused.fetch_add(1);
          continue;
        }
        EXPECT_LE(inside.fetch_add(1) + 1, kMaxTasks);
        EXPECT_LE(bytes_inside.fetch_add(node.cost_bytes) + node.cost_bytes, kMaxBytes);
        accepted.fetch_add(1);
        EXPECT_TRUE(tight.push(node));
      }
      at_work.fetch_sub(1);
    });
  }
  EXPECT_TRUE(start.arrive_and_wait());
  std::size_t taken = 0;
  const auto take_all = [&] {
    const std::lock_guard lock(tight.mutex());
    tight.sort_inbox(cancelled, discarded);
    while (TaskNode* const node = tight.best(0, Doors::kBoth)) {
      inside.fetch_sub(1);
      bytes_inside.fetch_sub(node->cost_bytes);
      EXPECT_TRUE(tight.take(*node));
      ++taken;
    }
  };
  while (at_work.load() != 0) take_all();
  threads.clear();
  take_all();
  EXPECT_EQ(taken, accepted.load());
  EXPECT_EQ(accepted.load() + refused.load(), kThreads * kEach);
  EXPECT_GT(refused.load(), 0U) << "the bound was never reached, so nothing was tested";
  EXPECT_EQ(tight.tasks(), 0U);
  EXPECT_EQ(tight.bytes(), 0U);
}

TEST_F(AdmissionQueueTest, NoAcceptedTaskIsLostOrSeenTwiceUnderConcurrentPushes) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 3'000;
  AdmissionQueue wide(kThreads * kEach, 1);
  std::vector<std::deque<Node>> own(kThreads);
  Countdown start(kThreads + 1);
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      EXPECT_TRUE(start.arrive_and_wait());
      for (std::size_t i = 0; i < kEach; ++i) {
        Node& node = own[t].emplace_back();
        EXPECT_EQ(wide.reserve(0), Push::kAccepted);
        EXPECT_TRUE(wide.push(node));
      }
    });
  }
  EXPECT_TRUE(start.arrive_and_wait());
  std::vector<TaskNode*> taken;
  while (taken.size() < kThreads * kEach) {
    const std::lock_guard lock(wide.mutex());
    wide.sort_inbox(cancelled, discarded);
    while (TaskNode* const node = wide.best(0, Doors::kBoth)) {
      ASSERT_TRUE(wide.take(*node));
      taken.push_back(node);
    }
  }
  threads.clear();
  // Each thread's tasks in the order in which it pushed them, and each once.
  std::vector<std::size_t> position(kThreads, 0);
  for (TaskNode* const node : taken) {
    std::size_t t = 0;
    while (t < kThreads && (position[t] == kEach || &own[t][position[t]] != node)) ++t;
    ASSERT_LT(t, kThreads) << "out of order, or twice";
    ++position[t];
  }
}

// ---- shedding ----

TEST_F(SmallQueueTest, SheddingTakesTheLastOfTheLowestPriority) {
  Node& low_early = add({.priority = Priority::kLow, .deadline = at(1)});
  Node& low_late = add({.priority = Priority::kLow, .deadline = at(9)});
  Node& lowest = add({.priority = Priority::kLowest, .deadline = at(1)});
  Node& normal = add();
  sort();
  EXPECT_TRUE(make_room(Priority::kHigh, 0));
  EXPECT_EQ(content(shed), std::vector<TaskNode*>{&lowest});
  EXPECT_EQ(lowest.phase.load(), Phase::kClaimed);
  EXPECT_EQ(queue.tasks(), 4U) << "the room is reserved for the new one";
  EXPECT_TRUE(make_room(Priority::kHigh, 0));
  EXPECT_EQ(content(shed), std::vector<TaskNode*>{&low_late});
  EXPECT_TRUE(make_room(Priority::kHigh, 0));
  EXPECT_EQ(content(shed), std::vector<TaskNode*>{&low_early});
  EXPECT_TRUE(make_room(Priority::kHigh, 0));
  EXPECT_EQ(content(shed), std::vector<TaskNode*>{&normal});
  EXPECT_FALSE(make_room(Priority::kHigh, 0)) << "nobody is left to give way";
  for (int i = 0; i < 4; ++i) queue.unreserve(0);
}

TEST_F(SmallQueueTest, SheddingTakesTheYoungestOfEqualsWhicheverDoorAndLane) {
  add({.priority = Priority::kLow});
  add({.op_class = OpClass::kGraph, .priority = Priority::kLow}, TaskNode::Door::kRun);
  add({.priority = Priority::kLow}, TaskNode::Door::kRun);
  Node& youngest = add({.op_class = OpClass::kExclusive, .priority = Priority::kLow});
  sort();
  EXPECT_TRUE(make_room(Priority::kNormal, 0));
  EXPECT_EQ(content(shed), std::vector<TaskNode*>{&youngest});
  queue.unreserve(0);
}

TEST_F(SmallQueueTest, EqualPriorityDoesNotGiveWay) {
  for (int i = 0; i < 4; ++i) add();
  sort();
  EXPECT_FALSE(make_room(Priority::kNormal, 0));
  EXPECT_TRUE(shed.empty());
  EXPECT_EQ(queue.tasks(), 4U);
}

TEST_F(SmallQueueTest, SheddingFreesTheBytesThatAreNeededAndNoMoreTasksThanThat) {
  Node& small = add({.priority = Priority::kLow, .cost_bytes = 10});
  Node& large = add({.priority = Priority::kLow, .cost_bytes = 50});
  Node& normal = add({.cost_bytes = 40});
  sort();
  EXPECT_TRUE(make_room(Priority::kHigh, 45));
  EXPECT_EQ(content(shed), std::vector<TaskNode*>{&large});
  EXPECT_EQ(queue.bytes(), 95U);
  EXPECT_EQ(queue.tasks(), 3U);
  EXPECT_EQ(take_best(), &normal);
  EXPECT_EQ(take_best(), &small);
  queue.unreserve(45);
}

TEST_F(SmallQueueTest, SheddingThatCannotMakeEnoughRoomChangesNothing) {
  add({.priority = Priority::kLow, .cost_bytes = 10});
  add({.op_class = OpClass::kGraph, .priority = Priority::kLow, .deadline = at(5)});
  add({.priority = Priority::kLowest, .cost_bytes = 20});
  add({.priority = Priority::kHigh, .cost_bytes = 60});
  sort();
  EXPECT_FALSE(make_room(Priority::kHigh, 41)) << "only 40 bytes are not spoken for";
  EXPECT_FALSE(make_room(Priority::kHighest, 101)) << "more than the queue ever holds";
  EXPECT_FALSE(make_room(Priority::kHighest, ~std::size_t{0}));
  EXPECT_TRUE(shed.empty());
  EXPECT_EQ(queue.tasks(), 4U);
  EXPECT_EQ(queue.bytes(), 90U);
  EXPECT_EQ(queue.ordered(0), 3U);
  EXPECT_EQ(queue.ordered(2), 1U);
  for (Node* expected : {&nodes[3], &nodes[1], &nodes[0], &nodes[2]}) {
    EXPECT_EQ(expected->phase.load(), Phase::kQueued);
    EXPECT_EQ(take_best(), expected) << "and the order is what it was";
  }
}

TEST_F(SmallQueueTest, RoomThatIsThereNeedsNoShedding) {
  add({.priority = Priority::kLowest});
  sort();
  EXPECT_TRUE(make_room(Priority::kHigh, 100));
  EXPECT_TRUE(shed.empty());
  EXPECT_EQ(queue.tasks(), 2U);
  EXPECT_EQ(queue.bytes(), 100U);
  queue.unreserve(100);
}

TEST_F(SmallQueueTest, ATaskThatWasBeingCancelledAsItWasShedIsTheCancellers) {
  Node& low = add({.priority = Priority::kLow});
  for (int i = 0; i < 3; ++i) add();
  sort();
  ASSERT_TRUE(low.claim(Phase::kQueued)) << "as Future::cancel does, before it has the lock";
  EXPECT_TRUE(make_room(Priority::kHigh, 0));
  EXPECT_TRUE(shed.empty());
  {
    const std::lock_guard lock(queue.mutex());
    EXPECT_FALSE(queue.quiet()) << "somebody is still to come for it";
    queue.withdraw(low);
  }
  EXPECT_EQ(queue.tasks(), 4U);
  queue.unreserve(0);
}

/// Sheds beside threads that take every bit of room they can get, and looks each time at what has
/// really got into the queue. Every task costs one byte.
void shed_beside_pushes(std::size_t max_tasks, std::size_t max_bytes) {
  const std::size_t bound = std::min(max_tasks, max_bytes);
  std::size_t shed_tasks = 0;
  for (int round = 0; round < 100; ++round) {
    AdmissionQueue tight(max_tasks, max_bytes);
    NodeChain nowhere;
    const auto really_inside = [&] {
      const std::lock_guard lock(tight.mutex());
      tight.sort_inbox(nowhere, nowhere);
      std::size_t sum = 0;
      for (std::size_t lane = 0; lane < kLanes; ++lane) sum += tight.ordered(lane);
      return sum;
    };
    std::atomic<bool> stop{false};
    std::array<std::deque<Node>, 2> own;
    Countdown start(own.size() + 1);
    std::vector<std::jthread> threads;
    for (auto& nodes : own) {
      threads.emplace_back([&] {
        EXPECT_TRUE(start.arrive_and_wait());
        while (!stop.load(std::memory_order_relaxed)) {
          if (tight.reserve(1) != Push::kAccepted) continue;
          EXPECT_TRUE(tight.push(
              nodes.emplace_back(TaskOptions{.priority = Priority::kLow, .cost_bytes = 1})));
        }
      });
    }
    EXPECT_TRUE(start.arrive_and_wait());
    EXPECT_TRUE(testing::eventually([&] { return really_inside() == bound; }));
    std::deque<Node> urgent;
    for (std::size_t i = 0; i < bound; ++i) {
      Node& node = urgent.emplace_back(TaskOptions{.priority = Priority::kHigh, .cost_bytes = 1});
      NodeChain victims;
      bool reserved = false;
      {
        const std::lock_guard lock(tight.mutex());
        tight.sort_inbox(nowhere, nowhere);
        reserved = tight.make_room(node.priority, node.cost_bytes, victims);
      }
      while (!victims.empty()) {
        EXPECT_EQ(victims.pop().priority, Priority::kLow);
        ++shed_tasks;
      }
      if (!reserved) continue;
      EXPECT_TRUE(tight.push(node));
      EXPECT_LE(really_inside(), bound) << "in round " << round;
    }
    stop = true;
    threads.clear();
    EXPECT_LE(really_inside(), bound);
    const std::lock_guard lock(tight.mutex());
    while (TaskNode* const node = tight.best(0, Doors::kBoth)) EXPECT_TRUE(tight.take(*node));
    EXPECT_EQ(tight.tasks(), 0U);
    EXPECT_EQ(tight.bytes(), 0U);
  }
  EXPECT_GT(shed_tasks, 0U);
}

TEST(AdmissionQueueShedding, BoundOnTasksIsStrictBesidePushes) { shed_beside_pushes(16, 1'000); }
TEST(AdmissionQueueShedding, BoundOnBytesIsStrictBesidePushes) { shed_beside_pushes(1'000, 16); }

// ---- giving a task back ----

TEST_F(AdmissionQueueTest, TaskThatIsPutBackHasItsOldPlace) {
  for (int i = 0; i < 5; ++i) add({.cost_bytes = 3});
  Node& due = add({.deadline = at(4), .cost_bytes = 3});
  sort();
  const auto put_back = [&](TaskNode& node) {
    const std::lock_guard lock(queue.mutex());
    queue.put_back(node);
  };
  EXPECT_EQ(take_best(), &due);
  put_back(due);
  EXPECT_EQ(due.phase.load(), Phase::kQueued);
  EXPECT_EQ(take_best(), &due);
  EXPECT_EQ(take_best(), &nodes[0]);
  EXPECT_EQ(take_best(), &nodes[1]);
  EXPECT_EQ(queue.tasks(), 3U);
  EXPECT_EQ(queue.bytes(), 9U);
  put_back(nodes[0]);
  put_back(nodes[1]);  // In either order.
  EXPECT_EQ(queue.tasks(), 5U);
  EXPECT_EQ(queue.bytes(), 15U);
  EXPECT_EQ(queue.ordered(0), 5U);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(take_best(), &nodes[i]);
}

// ---- cancelling and closing ----

TEST_F(SmallQueueTest, TasksThatEndedInTheInboxFreeTheirRoomWhenItIsSorted) {
  Node& ended = add({.cost_bytes = 70});
  Node& stays = add({.cost_bytes = 30});
  ASSERT_TRUE(ended.claim(Phase::kInbox));
  EXPECT_EQ(queue.bytes(), 100U);
  sort();
  EXPECT_EQ(content(discarded), std::vector<TaskNode*>{&ended});
  EXPECT_TRUE(cancelled.empty());
  EXPECT_EQ(queue.tasks(), 1U);
  EXPECT_EQ(queue.bytes(), 30U);
  EXPECT_EQ(take_best(), &stays);
}

TEST_F(SmallQueueTest, TasksThatWereAskedToEndInTheInboxAreNotQueued) {
  Node& asked = add({.cost_bytes = 5}, TaskNode::Door::kRun);
  asked.cancel_requested = true;
  sort();
  EXPECT_EQ(content(cancelled), std::vector<TaskNode*>{&asked});
  EXPECT_EQ(asked.phase.load(), Phase::kClaimed) << "whoever sorted owns it now";
  EXPECT_EQ(queue.tasks(), 0U);
  EXPECT_EQ(queue.bytes(), 0U);
}

TEST_F(SmallQueueTest, TaskThatIsBeingCancelledIsNotTakenAndKeepsTheQueueUnquiet) {
  Node& node = add({.cost_bytes = 5});
  sort();
  ASSERT_TRUE(node.claim(Phase::kQueued));
  const std::lock_guard lock(queue.mutex());
  EXPECT_FALSE(queue.take(node));
  EXPECT_EQ(queue.tasks(), 0U);
  EXPECT_EQ(queue.bytes(), 0U);
  EXPECT_FALSE(queue.quiet());
  queue.withdraw(node);
  EXPECT_TRUE(queue.quiet());
}

TEST_F(SmallQueueTest, WithdrawnTaskFreesItsRoomAndItsPlace) {
  Node& node = add({.cost_bytes = 5});
  Node& next = add();
  sort();
  ASSERT_TRUE(node.claim(Phase::kQueued));
  {
    const std::lock_guard lock(queue.mutex());
    queue.withdraw(node);
  }
  EXPECT_EQ(queue.tasks(), 1U);
  EXPECT_EQ(queue.bytes(), 0U);
  EXPECT_EQ(take_best(), &next);
}

TEST_F(SmallQueueTest, ClosedQueueTakesNothingNewAndKeepsWhatItHas) {
  Node& before = add();
  const auto close = [&] {
    const std::lock_guard lock(queue.mutex());
    queue.close(cancelled, discarded);
  };
  close();
  EXPECT_TRUE(queue.inbox_empty());
  EXPECT_EQ(queue.ordered(0), 1U) << "what was in the inbox has its place";
  Node& after = make();
  EXPECT_EQ(push(after), Push::kClosed);
  EXPECT_EQ(queue.tasks(), 1U);
  close();
  EXPECT_EQ(push(after), Push::kClosed) << "closing twice is closing";
  EXPECT_EQ(take_best(), &before);
}

TEST_F(AdmissionQueueTest, ClosingRacesWithPushesAndLosesNone) {
  for (int round = 0; round < 300; ++round) {
    AdmissionQueue raced(1'000, 1);
    std::deque<Node> own;
    std::size_t accepted = 0;
    Countdown start(2);
    std::jthread pusher([&] {
      EXPECT_TRUE(start.arrive_and_wait());
      for (int i = 0; i < 100; ++i) {
        Node& node = own.emplace_back();
        EXPECT_EQ(raced.reserve(0), Push::kAccepted);
        if (!raced.push(node)) {
          raced.unreserve(0);
          return;
        }
        ++accepted;
      }
    });
    EXPECT_TRUE(start.arrive_and_wait());
    {
      const std::lock_guard lock(raced.mutex());
      raced.close(cancelled, discarded);
    }
    pusher.join();
    const std::lock_guard lock(raced.mutex());
    std::size_t found = 0;
    while (TaskNode* const node = raced.best(0, Doors::kBoth)) {
      EXPECT_TRUE(raced.take(*node));
      ++found;
    }
    ASSERT_EQ(found, accepted);
  }
}

}  // namespace
}  // namespace streamgate::executor
