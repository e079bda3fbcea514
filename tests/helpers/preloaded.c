/* Preloaded into Pythons that tests start: lets allocations of a library fail (see failing_allocations.py), and puts pages that nobody may touch
   between the buffers of an arena (see guarded_scratch.py). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

enum { PAGE = 4096, SLOTS = 1 << 20, LIVE = 4096 };

static __thread long countdown, counted;
static __thread int looking;
static const char *callers = "";

/* Counts from now on, in this thread, what libraries with that in their path allocate; the n-th fails, from 1 on. */
void failing_start(long n, const char *library) {
    callers = library;
    countdown = n;
    counted = 0;
    looking = 1;
}

/* How many there were. */
long failing_stop(void) {
    looking = 0;
    return counted;
}

static int is_in(void *caller, const char *library) {
    Dl_info info;
    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, library);
}

static int fails(void *caller) {
    int failing;
    if (!looking) return 0;
    looking = 0; /* dladdr may allocate */
    failing = is_in(caller, callers) && ++counted == countdown;
    looking = 1;
    return failing;
}

/* By size: which pages of a block nobody may touch. Blocks are cut from one range of addresses, each but once. */
static struct {
    size_t size;
    const int32_t *pages;
    int count;
} guards[SLOTS];
static struct {
    char *start;
    size_t size;
} live[LIVE];
static char *range, *next;
static const size_t RANGE = (size_t)1 << 42;

int guard_size(size_t size, const int32_t *pages, int count) {
    size_t slot = size / 64 % SLOTS;
    if (range == NULL) {
        range = next = mmap(NULL, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (range == MAP_FAILED) return range = NULL, -1;
    }
    if (guards[slot].size) return -1;
    guards[slot].size = size;
    guards[slot].pages = pages;
    guards[slot].count = count;
    return 0;
}

static void *guarded(size_t size, void *caller) {
    size_t slot = size / 64 % SLOTS, whole = (size + PAGE - 1) / PAGE * PAGE;
    char *block = next;
    int place = 0;
    if (range == NULL || guards[slot].size != size || !is_in(caller, "/fastlstm/runtime")) return NULL;
    while (place < LIVE && live[place].start != NULL) place++;
    if (place == LIVE || (size_t)(next - range) + whole > RANGE) abort();
    live[place].start = block;
    live[place].size = whole;
    next += whole;
    if (mprotect(block, whole, PROT_READ | PROT_WRITE)) abort();
    for (int n = 0; n < guards[slot].count; n++)
        if (mprotect(block + (size_t)guards[slot].pages[n] * PAGE, PAGE, PROT_NONE)) abort();
    return block;
}

static void forget(char *block) {
    for (int place = 0; place < LIVE; place++)
        if (live[place].start == block) {
            mmap(block, live[place].size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
            live[place].start = NULL;
            return;
        }
    abort();
}

void *malloc(size_t size) {
    void *block = range ? guarded(size, __builtin_return_address(0)) : NULL;
    if (block) return block;
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) { return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size); }

void *realloc(void *old, size_t size) { return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size); }

void free(void *block) {
    if (range != NULL && (char *)block >= range && (char *)block < range + RANGE)
        forget(block);
    else
        __libc_free(block);
}
