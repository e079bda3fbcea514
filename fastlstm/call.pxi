# One call: how it treats tiny numbers, whether it is to go on, and how its threads wait for each other. Part of runtime.pyx.

cdef extern from * nogil:
    """
    #include <pthread.h>
    #include <sched.h>
    #include <time.h>

    /* Numbers below the normal range count as 0, as in TensorFlow's threads: they take a CPU 20 to 50 times as long. */
    #if defined(__SSE2__)
    #include <xmmintrin.h>
    static inline uint64_t fastlstm_floats(void) { return _mm_getcsr(); }
    static inline void fastlstm_set_floats(uint64_t floats) { _mm_setcsr((unsigned)floats); }
    #define FASTLSTM_FLUSH 0x8040u /* what is read, and what is written */
    #elif defined(__aarch64__)
    static inline uint64_t fastlstm_floats(void) {
        uint64_t floats;
        __asm__ __volatile__("mrs %0, fpcr" : "=r"(floats));
        return floats;
    }
    static inline void fastlstm_set_floats(uint64_t floats) { __asm__ __volatile__("msr fpcr, %0" : : "r"(floats)); }
    #define FASTLSTM_FLUSH (1u << 24)
    #else
    static inline uint64_t fastlstm_floats(void) { return 0; }
    static inline void fastlstm_set_floats(uint64_t floats) { (void)floats; }
    #define FASTLSTM_FLUSH 0u
    #endif
    static inline void fastlstm_flush(uint64_t floats) { fastlstm_set_floats(floats | FASTLSTM_FLUSH); }

    typedef struct {
        int64_t stop; /* to be left: what was computed is worthless. Kernels read it: it stays the first. */
        int64_t members, arrived, round; /* of a crew */
        int64_t asker; /* the thread that asks Python whether the user has interrupted; 0: none does */
        int64_t next; /* when it asks again, in nanoseconds; 0: it has not begun */
        int64_t raised; /* it was told so: the exception is the thread's */
        uint64_t floats; /* how it treats tiny numbers outside */
    } fastlstm_call;

    #define FASTLSTM_PAUSE 200000000 /* between two questions, which may have to wait for the GIL */

    /* As threading.get_ident() has it. */
    static inline int64_t fastlstm_thread(void) { return (int64_t)pthread_self(); }

    static int64_t fastlstm_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return 1000000000 * (int64_t)now.tv_sec + now.tv_nsec;
    }

    static void fastlstm_stop(fastlstm_call *call) { __atomic_store_n(&call->stop, 1, __ATOMIC_RELEASE); }

    /* Called every now and then, by kernels too, without the GIL: has the user interrupted? */
    static void fastlstm_look(int64_t address) {
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

    /* -1 where the exception of an interruption is to be raised in this thread. */
    static int fastlstm_interrupted(fastlstm_call *call) { return call->raised && call->asker == fastlstm_thread() ? -1 : 0; }

    /* Wait until every member of a crew has come here, or until the call is to be left. */
    static void fastlstm_meet(int64_t address) {
        fastlstm_call *crew = (fastlstm_call *)(uintptr_t)address;
        int64_t round = __atomic_load_n(&crew->round, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&crew->arrived, 1, __ATOMIC_ACQ_REL) == crew->members) {
            __atomic_store_n(&crew->arrived, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&crew->round, round + 1, __ATOMIC_RELEASE);
            return;
        }
        for (int64_t n = 0; __atomic_load_n(&crew->round, __ATOMIC_ACQUIRE) == round; n++) {
            if (__atomic_load_n(&crew->stop, __ATOMIC_ACQUIRE)) return;
            if (n >= 300) { /* some microseconds: perhaps the others have no processor */
                if (n % 4096 == 0) fastlstm_look(address);
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
    ctypedef struct fastlstm_call:
        int64_t stop
        int64_t members
        int64_t asker
        uint64_t floats

    uint64_t fastlstm_floats()
    void fastlstm_flush(uint64_t floats)
    void fastlstm_set_floats(uint64_t floats)
    int64_t fastlstm_thread()
    void fastlstm_stop(fastlstm_call *call)
    void fastlstm_look(int64_t address)
    int fastlstm_interrupted(fastlstm_call *call) except -1
    void fastlstm_meet(int64_t address)


#: Only the main thread is told of interruptions.
cdef int64_t main_thread = threading.main_thread().ident


cdef int begin(fastlstm_call *call) except -1:
    """Make a call ready that the current thread begins."""
    memset(call, 0, sizeof(fastlstm_call))
    if fastlstm_thread() == main_thread:
        call.asker = main_thread
    return 0


cdef class Watch:
    """Lets several threads that compute parts of one call be told to leave it. Made by the thread that began the call."""

    cdef fastlstm_call call

    def __cinit__(self):
        begin(&self.call)

    def stop(self):
        """Have them leave: what they compute is worthless. Those that have not begun do not begin."""
        fastlstm_stop(&self.call)
