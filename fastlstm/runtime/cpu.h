/* The levels of x86-64, as the psABI defines them: does this CPU have one, and does the operating system keep its registers? */

#ifndef FASTLSTM_CPU_H
#define FASTLSTM_CPU_H

#if defined(__x86_64__) || defined(_M_X64)

#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

/* What one leaf of CPUID answers; zeros where the CPU has no such leaf. */
typedef struct {
    unsigned int a, b, c, d;
} fastlstm_leaf;

static inline fastlstm_leaf fastlstm_cpuid(unsigned int number) {
    fastlstm_leaf leaf = {0, 0, 0, 0};
#if defined(_MSC_VER)
    int most[4], found[4];
    __cpuidex(most, (int)(number & 0x80000000u), 0);
    if ((unsigned int)most[0] < number) return leaf;
    __cpuidex(found, (int)number, 0);
    leaf.a = (unsigned int)found[0];
    leaf.b = (unsigned int)found[1];
    leaf.c = (unsigned int)found[2];
    leaf.d = (unsigned int)found[3];
#else
    __get_cpuid_count(number, 0, &leaf.a, &leaf.b, &leaf.c, &leaf.d);
#endif
    return leaf;
}

/* Which registers the operating system keeps when it switches threads. Only where the CPU says that the instruction may be used. */
static inline unsigned int fastlstm_kept_registers(void) {
#if defined(_MSC_VER) && !defined(__clang__)
    return (unsigned int)_xgetbv(0);
#else
    unsigned int low, high;
    __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#endif
}

#define FASTLSTM_BIT(n) (1u << (n))
#define FASTLSTM_HAS(word, bits) (((word) & (bits)) == (bits))

/* cmpxchg16b, popcnt, SSE3, SSSE3, SSE4.1, SSE4.2; lahf */
static inline int fastlstm_cpu_has_v2(void) {
    const unsigned int first = FASTLSTM_BIT(13) | FASTLSTM_BIT(23) | FASTLSTM_BIT(0) | FASTLSTM_BIT(9) | FASTLSTM_BIT(19) | FASTLSTM_BIT(20);
    return FASTLSTM_HAS(fastlstm_cpuid(1).c, first) && FASTLSTM_HAS(fastlstm_cpuid(0x80000001u).c, FASTLSTM_BIT(0));
}

/* FMA, MOVBE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; lzcnt; the halves of 32-byte registers */
static inline int fastlstm_cpu_has_v3(void) {
    const unsigned int first = FASTLSTM_BIT(12) | FASTLSTM_BIT(22) | FASTLSTM_BIT(27) | FASTLSTM_BIT(28) | FASTLSTM_BIT(29);
    const unsigned int seventh = FASTLSTM_BIT(3) | FASTLSTM_BIT(5) | FASTLSTM_BIT(8);
    return fastlstm_cpu_has_v2() && FASTLSTM_HAS(fastlstm_cpuid(1).c, first) && FASTLSTM_HAS(fastlstm_cpuid(7).b, seventh) &&
           FASTLSTM_HAS(fastlstm_cpuid(0x80000001u).c, FASTLSTM_BIT(5)) && FASTLSTM_HAS(fastlstm_kept_registers(), 0x6u);
}

/* AVX-512 F, DQ, CD, BW, VL; masks and 64-byte registers */
static inline int fastlstm_cpu_has_v4(void) {
    const unsigned int seventh = FASTLSTM_BIT(16) | FASTLSTM_BIT(17) | FASTLSTM_BIT(28) | FASTLSTM_BIT(30) | FASTLSTM_BIT(31);
    return fastlstm_cpu_has_v3() && FASTLSTM_HAS(fastlstm_cpuid(7).b, seventh) && FASTLSTM_HAS(fastlstm_kept_registers(), 0xe6u);
}

#define FASTLSTM_AMX_ASKED 1
/* AMX-BF16, AMX-TILE; the tiles' shapes and their data */
static inline int fastlstm_cpu_has_amx(void) {
    return fastlstm_cpu_has_v3() && FASTLSTM_HAS(fastlstm_cpuid(7).d, FASTLSTM_BIT(22) | FASTLSTM_BIT(24)) &&
           FASTLSTM_HAS(fastlstm_kept_registers(), 0x60000u);
}
#else
static inline int fastlstm_cpu_has_amx(void) { return 0; }
#endif

/* Linux keeps the data of tiles only for processes that ask for it: their threads have larger stacks for signals from then on. */
#if defined(FASTLSTM_AMX_ASKED) && defined(__linux__)
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
extern long syscall(long number, ...); /* which strict C leaves out of its header */
#define FASTLSTM_ARCH_REQ_XCOMP_PERM 0x1023
#define FASTLSTM_TILE_DATA 18
/* 0, or the system's number of what is wrong. */
static inline int fastlstm_ask_for_amx(void) {
    return syscall(SYS_arch_prctl, FASTLSTM_ARCH_REQ_XCOMP_PERM, FASTLSTM_TILE_DATA) == 0 ? 0 : errno;
}
#else
static inline int fastlstm_ask_for_amx(void) { return -1; }
#endif

/* What every CPU of an architecture has. */
static inline int fastlstm_cpu_has_baseline(void) { return 1; }

#endif
