# The scratch memory of calls, which the calls of a Model take turns with. Part of runtime.pyx.

#: Bytes of scratch that a Model keeps while nobody computes: more where the arena used last is larger by itself.
IDLE_BYTES = 64 << 20
#: Frames that a Runner keeps while nobody computes.
cdef int IDLE_FRAMES = 8

cdef extern from * nogil:
    """
    /* How all memory of arenas is allocated; NULL where there is none. */
    static void *fastlstm_memory(int64_t size) {
        return malloc((size_t)size);
    }
    """
    void *fastlstm_memory(int64_t size)


@cython.final
@cython.no_gc
cdef class Arena:
    """Scratch of one call at a time, at a multiple of 64 bytes. Freed with the last that refers to it, whatever went wrong."""

    cdef void *raw
    cdef char *memory
    cdef int64_t size
    cdef Arena next  # of those that lie idle

    def __cinit__(self, int64_t size):
        self.raw = fastlstm_memory(size + 64)
        if self.raw == NULL:
            raise MemoryError(f"no memory for {size:,} bytes of scratch")
        self.size = size
        self.memory = <char *>((<uintptr_t>self.raw + 63) & ~(<uintptr_t>63))

    def __dealloc__(self):
        free(self.raw)


@cython.final
@cython.no_gc
cdef class Arenas:
    """The arenas that no call uses. One thread after another finds the memory that was used last, which a cache may still hold.

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

    cdef readonly int64_t limit, idle_bytes
    cdef Arena latest  # those that lie idle, the one used last first

    def __init__(self, int64_t limit=IDLE_BYTES):
        self.limit = limit

    def __dealloc__(self):
        release(self.latest)

    cdef inline Arena take(self, int64_t size):
        """One of at least so many bytes, for the caller alone."""
        cdef Arena arena = self.latest
        if arena is None or arena.size < size:
            return self._larger(size)
        self.latest = arena.next
        arena.next = None
        self.idle_bytes -= arena.size
        return arena

    cdef inline Arena at_hand(self, int64_t size):
        """One for a call that keeps the GIL from beginning to end, and may leave it where it lies."""
        if self.latest is None or self.latest.size < size:
            self.give(self._larger(size))
        return self.latest

    cdef Arena _larger(self, int64_t size):
        """One that was used before the latest, or a new one in its place."""
        cdef Arena before = self.latest, found
        while before is not None and before.next is not None:
            found = before.next
            if found.size >= size:
                before.next, found.next = found.next, None
                self.idle_bytes -= found.size
                return found
            before = found
        if self.latest is not None:  # freed before there is another
            self.idle_bytes -= self.latest.size
            self.latest = self.latest.next
        return Arena(size)

    cdef inline void give(self, Arena arena) noexcept:
        """Take one back."""
        arena.next = self.latest
        self.latest = arena
        self.idle_bytes += arena.size
        if self.idle_bytes > self.limit:
            self._free()

    cdef void _free(self) noexcept:
        """Free those that have lain longest."""
        cdef Arena kept = self.latest, rest
        self.idle_bytes = kept.size
        while kept.next is not None and self.idle_bytes + kept.next.size <= self.limit:
            kept = kept.next
            self.idle_bytes += kept.size
        rest, kept.next = kept.next, None
        release(rest)


cdef void release(Arena first) noexcept:
    """Let go of one after another: not each as a part of the one before."""
    while first is not None:
        first = first.next
