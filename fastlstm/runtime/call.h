/* One running call: how it treats tiny numbers, whether it is to go on, and how the threads of a team wait for each other.

   All of it is static inline and keeps nothing but what stands in a fastlstm_call, so each module may have a copy. */

#ifndef FASTLSTM_CALL_H
#define FASTLSTM_CALL_H

#include <Python.h>
#include "portable.h"

typedef struct {
    int64_t stop; /* the call is to be left: its results are worthless. Kernels read this: it stays the first field. */
    int64_t members, arrived, round; /* of a team; 0 members: there is none */
    int64_t asker; /* the thread that asks Python whether the user has interrupted; 0: none does */
    int64_t next; /* when it asks again, in nanoseconds; 0: it has not begun */
    int64_t raised; /* Python answered yes, and the exception is waiting in that thread */
    uint64_t floats; /* how that thread treats tiny numbers outside of the call */
} fastlstm_call;

/* Nanoseconds between two questions, each of which may have to wait for the GIL. */
#define FASTLSTM_PAUSE 200000000
/* A member that waits for the others spins this often, some microseconds, and then lets others have its processor. */
#define FASTLSTM_SPINS 300
/* From then on it looks for an interruption each time it has yielded this often. */
#define FASTLSTM_YIELDS 4096

static inline void fastlstm_stop(fastlstm_call *call) { fastlstm_release(&call->stop, 1); }

/* Has the user interrupted? Called every now and then without the GIL, by kernels too. */
static inline void fastlstm_look(int64_t address) {
    fastlstm_call *call = (fastlstm_call *)(uintptr_t)address;
    if (call->asker != fastlstm_thread()) return;
    int64_t now = fastlstm_now();
    if (call->next && now >= call->next && !call->stop) {
        uint64_t floats = fastlstm_floats();
        fastlstm_set_floats(call->floats);
        PyGILState_STATE state = PyGILState_Ensure();
        if (PyErr_CheckSignals() != 0) {
            call->raised = 1;
            fastlstm_stop(call);
        }
        PyGILState_Release(state);
        fastlstm_set_floats(floats);
        now = fastlstm_now();
    } else if (call->next) {
        return;
    }
    call->next = now + FASTLSTM_PAUSE;
}

/* -1 where this thread is to raise the exception of an interruption. */
static inline int fastlstm_interrupted(fastlstm_call *call) { return call->raised && call->asker == fastlstm_thread() ? -1 : 0; }

/* Wait until every member of a team has come here, or until the call is to be left. */
static inline void fastlstm_meet(int64_t address) {
    fastlstm_call *team = (fastlstm_call *)(uintptr_t)address;
    int64_t round = fastlstm_load(&team->round);
    if (fastlstm_increased(&team->arrived) == team->members) {
        fastlstm_release(&team->arrived, 0);
        fastlstm_release(&team->round, round + 1);
        return;
    }
    for (int64_t n = 0; fastlstm_load(&team->round) == round; n++) {
        if (fastlstm_load(&team->stop)) return;
        if (n < FASTLSTM_SPINS) {
            fastlstm_relax();
            continue;
        }
        if (n % FASTLSTM_YIELDS == 0) fastlstm_look(address);
        fastlstm_yield();
    }
}

#endif
