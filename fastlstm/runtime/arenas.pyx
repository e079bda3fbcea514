"""The scratch memory of calls. All calls of a Model share it, one after another."""

from ..program.layout import ALIGNMENT

cimport cython
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

#: Bytes of scratch that a Model keeps while nobody computes. The arena used last is kept even where it alone is larger.
IDLE_BYTES = 64 << 20


@cython.final
@cython.no_gc
cdef class Arena:
    """Scratch of one call at a time, aligned. Freed with the last reference to it, whatever went wrong."""

    def __cinit__(self, int64_t size):
        cdef int64_t alignment = ALIGNMENT
        self.raw = malloc(<size_t>(size + alignment))
        if self.raw == NULL:
            raise MemoryError(f"no memory for {size:,} bytes of scratch")
        self.size = size
        self.memory = <char *>((<uintptr_t>self.raw + alignment - 1) & ~(<uintptr_t>(alignment - 1)))

    def __dealloc__(self):
        free(self.raw)


@cython.final
@cython.no_gc
cdef class Arenas:
    """The arenas that no call uses. Whichever thread comes next gets the memory used last, which a cache may still hold.

    Parameters
    ----------
    limit : int, optional
        Bytes that may lie idle; the arena given back last may exceed it alone.

    Attributes
    ----------
    limit : int
        As given.
    idle_bytes : int
        Bytes that lie idle.
    """

    def __init__(self, int64_t limit=IDLE_BYTES):
        self.limit = limit

    def __dealloc__(self):
        release(self.latest)

    cdef Arena _larger(self, int64_t size):
        """Return an arena used before the latest that is large enough, or a new one that replaces the latest."""
        cdef Arena before = self.latest, found
        while before is not None and before.next is not None:
            found = before.next
            if found.size >= size:
                before.next, found.next = found.next, None
                self.idle_bytes -= found.size
                return found
            before = found
        if self.latest is not None:  # freed before the new one is allocated, so that both need not fit
            self.idle_bytes -= self.latest.size
            self.latest = self.latest.next
        return Arena(size)

    cdef void _free(self) noexcept:
        """Free the arenas that have lain idle longest."""
        cdef Arena kept = self.latest, rest
        self.idle_bytes = kept.size
        while kept.next is not None and self.idle_bytes + kept.next.size <= self.limit:
            kept = kept.next
            self.idle_bytes += kept.size
        rest, kept.next = kept.next, None
        release(rest)


cdef void release(Arena first) noexcept:
    """Let go of arenas one after another; left to themselves, each would free the next, recursively."""
    while first is not None:
        first = first.next
