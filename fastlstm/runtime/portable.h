/* What compilers and systems spell differently: the floating-point control register, atomic numbers, threads and the clock.

   GCC, Clang and clang-cl, and Microsoft's compiler; POSIX and Windows. */

#ifndef FASTLSTM_PORTABLE_H
#define FASTLSTM_PORTABLE_H

#include <stdint.h>

#if defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <pthread.h>
#include <sched.h>
#include <time.h>
#endif

#if defined(_MSC_VER)
#include <intrin.h>
#endif

/* Numbers below the normal range count as 0, as in TensorFlow's threads: a CPU takes 20 to 50 times as long for them. */
#if defined(__SSE2__) || defined(_M_X64)
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

/* Tell a processor that this thread only waits. */
static inline void fastlstm_relax(void) {
#if defined(__SSE2__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Numbers that several threads read and write: what was written before a release is seen after the load that finds it. */
#if defined(_MSC_VER) && !defined(__clang__)
static inline int64_t fastlstm_load(int64_t *number) {
#if defined(_M_X64)
    int64_t found = *(volatile int64_t *)number; /* the CPU keeps the order of loads, so only the compiler has to be told */
    _ReadWriteBarrier();
    return found;
#else
    return _InterlockedCompareExchange64((volatile __int64 *)number, 0, 0);
#endif
}
static inline void fastlstm_release(int64_t *number, int64_t value) { _InterlockedExchange64((volatile __int64 *)number, value); }
static inline int64_t fastlstm_increased(int64_t *number) { return _InterlockedIncrement64((volatile __int64 *)number); }
#else
static inline int64_t fastlstm_load(int64_t *number) { return __atomic_load_n(number, __ATOMIC_ACQUIRE); }
static inline void fastlstm_release(int64_t *number, int64_t value) { __atomic_store_n(number, value, __ATOMIC_RELEASE); }
static inline int64_t fastlstm_increased(int64_t *number) { return __atomic_add_fetch(number, 1, __ATOMIC_ACQ_REL); }
#endif

/* The same number as threading.get_ident(). */
static inline int64_t fastlstm_thread(void) {
#if defined(_WIN32)
    return (int64_t)GetCurrentThreadId();
#else
    return (int64_t)(uintptr_t)pthread_self();
#endif
}

/* Let other threads have this processor. */
static inline void fastlstm_yield(void) {
#if defined(_WIN32)
    SwitchToThread();
#else
    sched_yield();
#endif
}

/* Nanoseconds of a clock that is never set back; on Windows it ticks every 16 ms. */
static inline int64_t fastlstm_now(void) {
#if defined(_WIN32)
    return 1000000 * (int64_t)GetTickCount64();
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1000000000 * (int64_t)now.tv_sec + now.tv_nsec;
#endif
}

/* Nanoseconds of a clock that is fine enough to time a call. */
static inline int64_t fastlstm_ticks(void) {
#if defined(_WIN32)
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return (int64_t)(1e9 * (double)now.QuadPart / (double)frequency.QuadPart);
#else
    return fastlstm_now();
#endif
}

#endif
