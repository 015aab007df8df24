// SPDX-License-Identifier: Apache-2.0
//
// The slots of streams (executor/stream_pool.cc) and their lazy opening (Core::execute) as a model
// for spin: one owner for each slot until the device is done with it, a stream opened once, and no
// slot leaked, also when a stream cannot be opened. It is not for who gets a slot when none is free,
// which is admission.pml's subject: here a task that finds none tries again when one comes free.
//
// Three slots, of which the constructing thread alone may take slot 0; three other tasks for the two
// that remain, and one task of the constructing thread's. Checked: assertions, no process stuck, and
// (with LIVENESS) that every task ends. Mutants: see tests/models/CMakeLists.txt.

#define SLOTS 3
#define ALL_SLOTS 7
#define TASKS 4
#define CONSTRUCTOR 0
#define NOBODY 255

byte free = ALL_SLOTS;  // StreamPool::free_, one word
byte opened;            // StreamPool::opened_
byte ended;

// What the checks need to know and the code does not.
byte owner[SLOTS] = NOBODY;
bool device_busy[SLOTS];
byte times_opened[SLOTS];

#define bit(slot) (1 << slot)
#define has(word, slot) ((word & bit(slot)) != 0)

// StreamPool::lease: the lowest of the free slots that the caller may take, by compare-exchange.
inline lease(task) {
  w_free = free;
  do
  :: atomic {
       w_eligible = w_free & (task == CONSTRUCTOR -> ALL_SLOTS : ALL_SLOTS - 1);
       if
       :: w_eligible == 0 ->
         // None is free: as the queue does it, the next try follows a give-back.
         w_free = 0;
         (free & (task == CONSTRUCTOR -> ALL_SLOTS : ALL_SLOTS - 1)) != 0;
         w_free = free
       :: else ->
         slot = (has(w_eligible, 0) -> 0 : (has(w_eligible, 1) -> 1 : 2))
       fi
     };
    if
    :: w_eligible == 0
    :: else ->
      atomic {
        if
#ifdef LEASE_WITHOUT_COMPARING
        :: true ->
#else
        :: free == w_free ->
#endif
          free = w_free & ~bit(slot);
          assert(owner[slot] == NOBODY);   // One owner,
          assert(!device_busy[slot]);      // until the device is done;
          assert(slot != 0 || task == CONSTRUCTOR);
          owner[slot] = task;
          break
        :: else -> w_free = free
        fi
      }
    fi
  od;
  atomic { w_free = 0; w_eligible = 0 }
}

// StreamPool::give_back.
inline give_back(slot_given) {
  atomic {
    assert(!has(free, slot_given));
    assert(!device_busy[slot_given]);
    owner[slot_given] = NOBODY;
    free = free | bit(slot_given)
  }
}

// A task from its lease to its end: Core::execute, settle, give_back.
proctype Task(byte task) {
  byte slot, w_free, w_eligible;
  bool could_open = true;
  lease(task);
  if
  :: !has(opened, slot) ->  // StreamPool::needs_opening
#ifdef MARK_BEFORE_OPENING
    opened = opened | bit(slot);
#endif
    if
    :: task == 1 -> could_open = false  // Backend::open_stream throws, this time.
    :: true ->
      times_opened[slot]++;
      assert(times_opened[slot] == 1);  // Opened at most once,
#ifndef OPENED_IS_FORGOTTEN
      opened = opened | bit(slot)  // StreamPool::mark_opened
#endif
    fi
  :: else
  fi;
  if
  :: could_open ->
    assert(times_opened[slot] == 1);  // and before it is used.
    device_busy[slot] = true;
#ifdef GIVE_BACK_BEFORE_DONE
    atomic { owner[slot] = NOBODY; free = free | bit(slot) };
    device_busy[slot] = false
#else
    device_busy[slot] = false;  // Backend::notify_when_done, or Core::stream_done later
    give_back(slot)
#endif
  :: else ->
#ifdef LEAK_WHERE_IT_CANNOT_OPEN
    skip
#else
    give_back(slot)
#endif
  fi;
  ended++
}

proctype Service() {
  ended == TASKS;
  assert(free == ALL_SLOTS)  // No slot leaked.
}

init {
  atomic {
    run Task(CONSTRUCTOR);
    run Task(1);
    run Task(2);
    run Task(3);
    run Service()
  }
}

#ifdef LIVENESS
ltl every_task_ends { <> (ended == TASKS) }
#endif
