// SPDX-License-Identifier: Apache-2.0
//
// The arena's tickets (Arena::call and Arena::linger in executor/internal/arena.cc) as a model for
// spin: for what admission.pml takes for granted, that work which was made startable before a call
// is looked at by some ticket. It is not for what the work is, nor for stopping and TBB.
//
// Two callers make work startable, one twice, and then call. A ticket takes all the work that it
// sees. The state word is one atomic word: read, changed and compared in one step. Checked:
// assertions, no process stuck, and (with -a) that all work is done in the end whatever the
// interleaving, as long as every thread goes on. Mutants: see tests/models/CMakeLists.txt.

#define THREADS 2
#define ALL_WORK 3

byte tickets, lingering;  // Arena::state_
bool again;

byte startable;  // Work that the source would give to whoever looks
byte done;
byte enqueued;   // TBB tasks that no thread runs yet

// Arena::call.
inline call() {
  do
  :: atomic { w_lingers = (lingering > 0); w_free = (tickets < THREADS); w_again = again;
       w_tickets = tickets; w_lingering = lingering };
    if
    :: (w_lingers || !w_free) && w_again -> break
#ifdef CALL_TRUSTS_TICKETS_THAT_ARE_OUT
    :: !w_free && !w_lingers -> break
#endif
    :: else ->
      atomic {
        if
        :: tickets == w_tickets && lingering == w_lingering && again == w_again ->
          if
          :: w_lingers || !w_free -> again = true
          :: else -> tickets++; enqueued++
          fi;
          assert(tickets <= THREADS);
          break
        :: else
        fi
      }
    fi
  od
}

proctype Caller(byte times) {
  bool w_lingers, w_free, w_again;
  byte w_tickets, w_lingering;
  do
  :: times > 0 ->
    startable++;
    call();
    times--
  :: else -> break
  od
}

// A thread of TBB's that runs tickets: Arena::serve.
proctype Thread() {
  byte w_tickets, w_lingering;
  bool w_again;
end_idle:
  atomic { enqueued > 0 -> enqueued-- };
work:
  // WorkSource::work: until nothing may start.
  do
  :: atomic { startable > 0 -> startable--; done++ }
  :: atomic { startable == 0 -> break }
  od;
  lingering++;
  do
  :: atomic { w_tickets = tickets; w_lingering = lingering; w_again = again };
    if
    :: w_again ->
      atomic {
        if
        :: tickets == w_tickets && lingering == w_lingering && again == w_again ->
          lingering--;
          again = false;
          goto work
        :: else
        fi
      }
    :: else ->
      atomic {
        if
#ifdef TICKET_LEAVES_WITHOUT_COMPARING
        :: true ->
#else
        :: tickets == w_tickets && lingering == w_lingering && again == w_again ->
#endif
          tickets--;
          lingering--;
          goto end_idle
        :: else
        fi
      }
    fi
  od
}

// All work is done: if not, this is where spin finds a process that is stuck.
proctype Service() {
  done == ALL_WORK;
  assert(startable == 0)
}

init {
  atomic {
    run Caller(2);
    run Caller(1);
    run Thread();
    run Thread();
    run Service()
  }
}

#ifdef LIVENESS
ltl all_work_is_done { <> (done == ALL_WORK) }
#endif
