# Several threads that run one Runner over the same rows, dividing the units of its recurrent layers. Part of runtime.pyx.

cdef extern from * nogil:
    """
    #include <sched.h>

    typedef struct {
        int64_t members, arrived, round, broken;
    } fastlstm_crew;

    /* Wait until every member has come here, or until the crew is broken up. */
    static void fastlstm_meet(int64_t address) {
        fastlstm_crew *crew = (fastlstm_crew *)(uintptr_t)address;
        int64_t round = __atomic_load_n(&crew->round, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&crew->arrived, 1, __ATOMIC_ACQ_REL) == crew->members) {
            __atomic_store_n(&crew->arrived, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&crew->round, round + 1, __ATOMIC_RELEASE);
            return;
        }
        for (int n = 0; __atomic_load_n(&crew->round, __ATOMIC_ACQUIRE) == round; n++) {
            if (__atomic_load_n(&crew->broken, __ATOMIC_ACQUIRE)) return;
            if (n >= 300) { /* some microseconds: perhaps the others have no processor */
                sched_yield();
                continue;
            }
    #if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
    #elif defined(__aarch64__)
            __asm__ __volatile__("yield");
    #endif
        }
    }
    """
    ctypedef struct fastlstm_crew:
        int64_t members
        int64_t broken

    void fastlstm_meet(int64_t address)


cdef class Crew:
    """One computation by several threads, each of which calls :meth:`work` once.

    Parameters
    ----------
    runner : Runner
        Of a Program that ``members`` threads may compute together.
    inputs, outputs, states : lists of numpy.ndarray
        As for :meth:`Runner.run`; all rows are computed.
    members : int
        How many threads. All of them must come to :meth:`work`, or :meth:`leave`.
    """

    cdef Runner runner
    cdef list frames
    cdef tuple arrays  # kept while somebody works on them
    cdef fastlstm_crew meeting
    cdef int64_t rows

    def __cinit__(self):
        memset(&self.meeting, 0, sizeof(self.meeting))

    def __init__(self, Runner runner not None, list inputs not None, list outputs not None, list states not None, int members):
        cdef Frame first
        if not 2 <= members <= runner.program.members:
            raise ValueError(f"expected 2 to {runner.program.members} members, found {members}")
        first = runner._frame()
        self.rows = len(inputs[0] if inputs else outputs[0])
        runner._bind(first, inputs, outputs, states, self.rows)
        self.runner, self.arrays, self.meeting.members = runner, (inputs, outputs, states), members
        self.frames = [first] + [Frame(runner, first) for _ in range(members - 1)]

    def work(self, int member):
        """Compute what is this member's."""
        if not 0 <= member < len(self.frames):
            raise ValueError(f"expected a member below {len(self.frames)}, found {member}")
        cdef Frame frame = self.frames[member]
        with nogil:
            self.runner._blocks(frame, 0, self.rows, &self.meeting, member)
        if member == 0 and not self.meeting.broken:  # nobody touches its memory any more: all have met behind the last instruction
            self.runner.idle.append(frame)

    def leave(self):
        """Have the others stop waiting; what they compute is worthless."""
        self.meeting.broken = 1
