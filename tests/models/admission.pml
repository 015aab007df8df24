// SPDX-License-Identifier: Apache-2.0
//
// The hand-over between gate, admission queue and workers (executor/internal/core.cc,
// executor/gate.cc, executor/internal/admission_queue.cc) as a model for spin. It is for the
// argument in Core's class comment, that a waiting task is never overlooked, and for the widths that
// the gate promises while limits move. It is not for the order of the queue (any waiting task may be
// the best one here, which covers every order), for cancelling and expiring, nor for the arena's
// tickets, which arena.pml stands for: here "call" is what Arena promises of it, that a worker looks
// after the call has begun.
//
// Spin interleaves steps one at a time, as sequentially consistent operations would. The code's
// weaker orders are argued where they stand.
//
// Two lanes: K, any class with a limit that moves (ceiling 2), and X, exclusive. Tasks 0 and 1 are
// submitted (Door::kSubmit), task 2 is run by its caller (Door::kRun), and there is one stream less
// than tasks. Checked: assertions, and that no process is stuck at the end, where every task must
// have ended. Mutants, each with a counter-example: -D with a name of tests/models/CMakeLists.txt.

#ifdef WITH_CALLER
#define TASKS 3
#else
#define TASKS 2
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#define SLOTS 2
#define CEILING 2
#define NOBODY 255

#define K 0
#define X 1
#ifndef CLASS_OF_1
#define CLASS_OF_1 X
#endif
#define class_of(task) (task == 1 -> CLASS_OF_1 : K)
#define for_worker(task) (task < 2)

mtype = {FREE, FULL, EXCLUDED}
mtype = {UNBORN, INBOX, QUEUED, TAKEN}

// Gate::word_: one atomic word, so read and compared in one step; limits_ is a word of its own.
byte in_use_k, in_use_x, epoch;
byte limit_k = CEILING;

// AdmissionQueue: who waits, and the two counters behind tasks().
mtype phase[3] = UNBORN;
byte reserved, taken;
bool mutex;

byte free_slots = SLOTS;  // StreamPool::free_; which slot is streams.pml's subject
byte looks;               // Arena: looks at the source that are still to begin
byte workers_with_task;
bool turn[3];         // CallerNode::wake_to_run
bool on_device[3];    // Progress::kPending
byte ended;               // Tasks whose outcome was published
byte started;             // Of TASKS_MEET: tasks that wait inside for each other

// What the checks need to know and the code does not.
byte settled = CEILING;  // The limit, as of the last set_limit that has returned
bool changing;           // A set_limit is on its way
byte changes;

#define any_inbox (phase[0] == INBOX || phase[1] == INBOX || phase[2] == INBOX)
#define any_queued (phase[0] == QUEUED || phase[1] == QUEUED || phase[2] == QUEUED)

#define LOCALS                                                                              \
  byte w_k, w_x, w_epoch, w_taken;                                                          \
  byte best = NOBODY, mine = NOBODY, wake = NOBODY;                                                                   \
  bool blocked_k, blocked_x, run_only, more, leased, somebody_waits, over;                   \
  byte over_changes;                                                                        \
  mtype verdict

// ---- the gate ----

// What a thread has read and does not need any more, so that states which differ only in it are one.
#define FORGET_WORD w_k = 0; w_x = 0; w_epoch = 0

// Gate::judge, on a word read before: the one look at another word is that at the limit.
inline judge(lane) {
  if
#ifdef EXCLUSIVE_LOOKS_AT_ITSELF_ONLY
  :: lane == X -> verdict = (w_x > 0 -> EXCLUDED : FREE)
#else
  :: lane == X -> verdict = (w_k + w_x > 0 -> EXCLUDED : FREE)
#endif
  :: lane == K && w_x > 0 -> verdict = EXCLUDED
  :: else -> verdict = (w_k >= limit_k -> FULL : FREE)
  fi
}

inline read_word() {
  d_step { w_k = in_use_k; w_x = in_use_x; w_epoch = epoch }
}

inline would_refuse(lane) {
  read_word();
  atomic { judge(lane); FORGET_WORD }
}

// Gate::acquire_unless: judge, then add by compare-exchange, and again when the word has changed.
inline acquire(lane) {
  read_word();
  do
  :: atomic { judge(lane); if :: verdict != FREE -> FORGET_WORD; break :: else fi };
    atomic {
      if
#ifdef ACQUIRE_WITHOUT_COMPARING
      :: true ->
#else
      :: in_use_k == w_k && in_use_x == w_x && epoch == w_epoch ->
#endif
        in_use_k = in_use_k + (lane == K -> 1 : 0);
        in_use_x = in_use_x + (lane == X -> 1 : 0);
        // Promise 1, and Gate's: once set_limit has returned, nothing is admitted under the old
        // limit.
        assert(in_use_k <= CEILING);
        assert(in_use_x == 0 || in_use_x == 1 && in_use_k == 0);
        assert(lane == X || changing || in_use_k <= settled);
        FORGET_WORD;
        break
      :: else -> w_k = in_use_k; w_x = in_use_x; w_epoch = epoch
      fi
    }
  od
}

inline release(lane) {
  atomic {
    in_use_k = in_use_k - (lane == K -> 1 : 0);
    in_use_x = in_use_x - (lane == X -> 1 : 0)
  }
}

// Core::give_back: the stream first, so that whoever gets the permit finds one.
inline give_back(task) {
  free_slots++;
  release(class_of(task))
}

// ---- the queue ----

// AdmissionQueue::tasks: taken first, so that it is zero only if nobody waits.
inline count_waiting() {
  w_taken = taken;
  d_step { somebody_waits = (reserved != w_taken); w_taken = 0 }
}

// Taking and giving the mutex join the step beside them, as no other thread can tell them apart.
inline lock() { atomic { !mutex -> mutex = true } }
inline unlock() { mutex = false }

// AdmissionQueue::sort_inbox: one exchange.
inline sort_inbox() {
  d_step {
    if :: phase[0] == INBOX -> phase[0] = QUEUED :: else fi;
    if :: phase[1] == INBOX -> phase[1] = QUEUED :: else fi;
    if :: phase[2] == INBOX -> phase[2] = QUEUED :: else fi
  }
}

#define blocked(lane) (lane == K -> blocked_k : blocked_x)
#define eligible(task) (phase[task] == QUEUED && !blocked(class_of(task)) && \
                        !(run_only && for_worker(task)))

// Core::blocked_with: a full lane blocks itself, an excluded one also those that exclude it.
inline block(lane) {
  blocked_k = blocked_k || lane == K || verdict == EXCLUDED;
  blocked_x = blocked_x || lane == X || verdict == EXCLUDED
}

// Arena::call.
inline call() {
  atomic { if :: looks < WORKERS -> looks++ :: else fi }
}

// StreamPool::lease, as far as it finds one or not.
inline lease() {
  d_step { leased = (free_slots > 0); free_slots = free_slots - (leased -> 1 : 0) }
}

// Core::admit below take_over, with the lock held. A worker takes at most one task to `mine`.
inline admit(is_worker) {
  sort_inbox();
  do
  :: atomic {
       if
       :: eligible(0) -> best = 0
       :: eligible(1) -> best = 1
       :: eligible(2) -> best = 2
       :: else -> break
       fi
     };
    if
    :: for_worker(best) && (!is_worker || mine != NOBODY) ->
      read_word();
      atomic {
        judge(class_of(best));
        FORGET_WORD;
        if
        :: verdict != FREE -> block(class_of(best))
        :: else ->
          more = true;
          if
          :: workers_with_task < WORKERS -> break
          :: else -> run_only = true
          fi
        fi
      }
    :: else ->
      acquire(class_of(best));
      if
      :: atomic { verdict != FREE -> block(class_of(best)) }
      :: else ->
        lease();
        if
        :: !leased -> release(class_of(best)); break
        :: else ->
          d_step {
            leased = false;
            phase[best] = TAKEN;
            taken++;
            if
            :: for_worker(best) ->
              mine = best;
              workers_with_task++;
              run_only = (workers_with_task == WORKERS)
            :: else -> wake = best
            fi
          }
        fi
      fi
    fi
  od;
  atomic { blocked_k = false; blocked_x = false; run_only = false; best = NOBODY; verdict = 0 }
}

// What admit leaves to be done once the lock is given up.
inline pass_on() {
  atomic { if :: wake != NOBODY -> turn[wake] = true; wake = NOBODY :: else fi };
#ifdef MORE_IS_FORGOTTEN
  more = false
#else
  atomic { if :: more -> call(); more = false :: else fi }
#endif
}

// Core::dispatch: admit as Taker::kOutside, and a call where a worker could go on.
inline dispatch() {
  lock();
  admit(false);
  unlock();
  pass_on()
}

// Core::after_release: the giver looks after it gave.
inline after_release() {
  count_waiting();
  if :: somebody_waits -> somebody_waits = false; dispatch() :: else fi
}

// Core::enqueue: reserved, then pushed, in this order.
inline announce(task) {
  reserved++;
  phase[task] = INBOX
}

// ---- the threads ----

// Core::submit.
proctype Submitter(byte task) {
  LOCALS;
#ifdef LOOK_BEFORE_ANNOUNCING
  would_refuse(class_of(task));
  announce(task);
#else
  announce(task);
  would_refuse(class_of(task));
#endif
  atomic { if :: verdict == FREE -> call() :: else fi }
}

// Core::run outside a task.
proctype Caller(byte task) {
  LOCALS;
  bool admitted;
  // may_overtake: K and X exclude each other, so whoever waits goes first.
  count_waiting();
  if
  :: !somebody_waits || !any_inbox && !any_queued ->
    somebody_waits = false;
    acquire(class_of(task));
    if
    :: verdict == FREE ->
      lease();
      if
      :: leased -> admitted = true
      :: else -> release(class_of(task))
      fi
    :: else
    fi
  :: else -> somebody_waits = false
  fi;
  if
  :: !admitted ->
    announce(task);
#ifndef CALLER_PARKS_WITHOUT_LOOKING
    dispatch();
#endif
    turn[task]
  :: else
  fi;
  give_back(task);
  after_release();
  ended++
}

// Core::work.
proctype Worker() {
  LOCALS;
  byte before = NOBODY;  // A task of this worker's whose permit and stream it still has to give back
  bool back;
end_idle:
  atomic { looks > 0 -> looks-- };
again:
  atomic { !mutex -> mutex = true; workers_with_task = workers_with_task - back; mine = NOBODY };
  if
  :: before != NOBODY ->
    // Core::take_over: the next task of the same class keeps permit and stream.
    atomic {
      if
      :: before == 0 && phase[1] == QUEUED && class_of(1) == K -> best = 1
      :: before == 1 && phase[0] == QUEUED && class_of(1) == K -> best = 0
      :: best = NOBODY
      fi;
      // Gate::may_keep: the word, and below the limit.
      w_k = in_use_k;
      over = (!changing && in_use_k > settled);
      over_changes = changes
    };
    if
#ifdef KEEP_ABOVE_THE_LIMIT
    :: best != NOBODY ->
#else
    :: best != NOBODY && w_k <= limit_k ->
#endif
      // A lowered limit drains: no permit above it is passed on by a worker that decides after
      // set_limit has returned.
      assert(!(over && changes == over_changes));
      d_step {
        mine = best; best = NOBODY; phase[mine] = TAKEN; taken++; workers_with_task++;
        w_k = 0; over = false; over_changes = 0;
        mutex = false
      };
      d_step { before = NOBODY; ended++ };
      goto execute
    :: else -> d_step { best = NOBODY; w_k = 0; over = false; over_changes = 0 }
    fi;
#ifndef RELEASE_AFTER_LOOKING
    give_back(before)
#endif
  :: else
  fi;
  admit(true);
#ifdef RELEASE_AFTER_LOOKING
  if :: before != NOBODY -> give_back(before) :: else fi;
#endif
  unlock();
  d_step { if :: before != NOBODY -> before = NOBODY; ended++ :: else fi };
  pass_on();
  if :: mine == NOBODY -> back = false; goto end_idle :: else fi;
execute:
#ifdef TASKS_MEET
  started++;
  started == 2;
#endif
  atomic {
    back = true;
    if
    :: before = mine               // Progress::kDone
#ifdef WITH_DEVICE
    :: on_device[mine] = true      // Progress::kPending; the device tells, below
#endif
    fi;
    goto again
  }
}

// Core::stream_done, on a thread of the driver's.
proctype Device() {
  LOCALS;
  byte task;
end_idle:
  do
  :: atomic {
       if
       :: on_device[0] -> task = 0
       :: on_device[1] -> task = 1
       fi;
       on_device[task] = false
     };
#ifdef LOOK_BEFORE_RELEASE
    after_release();
    give_back(task);
#else
    give_back(task);
    after_release();
#endif
    ended++
  od
}

// Gate::set_limit, by a policy or an operator: the limit, then the epoch, and it returns.
inline set_limit(limit) {
  d_step { changing = true; changes++; limit_k = limit };
  d_step {
#ifndef LIMIT_WITHOUT_EPOCH
    epoch++;
#endif
    changing = false;
    settled = limit
  }
}

proctype Operator() {
  LOCALS;
  set_limit(1);
#ifndef ONLY_LOWERS
  after_release();
  set_limit(2);
#ifndef RAISE_WITHOUT_LOOKING
  after_release()
#endif
#endif
}

// Every task ends: if not, this is where spin finds a process that is stuck.
proctype Service() {
  ended == TASKS;
  assert(in_use_k == 0 && in_use_x == 0 && free_slots == SLOTS);
  workers_with_task == 0
}

init {
  atomic {
    run Submitter(0);
    run Submitter(1);
#ifdef WITH_CALLER
    run Caller(2);
#endif
    run Worker();
#if WORKERS == 2
    run Worker();
#endif
#ifdef WITH_DEVICE
    run Device();
#endif
#ifdef WITH_OPERATOR
    run Operator();
#endif
    run Service()
  }
}

#ifdef LIVENESS
ltl every_task_ends { <> (ended == TASKS) }
#endif
