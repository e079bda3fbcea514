cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class Arena:
    cdef void *raw
    cdef char *memory
    cdef int64_t size
    cdef Arena next  # of those that lie idle


@cython.final
cdef class Arenas:
    cdef readonly int64_t limit, idle_bytes
    cdef Arena latest  # of those that lie idle, the one used last; the others follow it

    cdef inline Arena take(self, int64_t size):
        """Return an arena of at least so many bytes, for the caller alone."""
        cdef Arena arena = self.latest
        if arena is None or arena.size < size:
            return self._larger(size)
        self.latest = arena.next
        arena.next = None
        self.idle_bytes -= arena.size
        return arena

    cdef inline Arena at_hand(self, int64_t size):
        """Return one for a call that keeps the GIL from beginning to end, and so may leave the arena where it lies."""
        if self.latest is None or self.latest.size < size:
            self.give(self._larger(size))
        return self.latest

    cdef inline void give(self, Arena arena) noexcept:
        """Take an arena back."""
        arena.next = self.latest
        self.latest = arena
        self.idle_bytes += arena.size
        if self.idle_bytes > self.limit:
            self._free()

    cdef Arena _larger(self, int64_t size)
    cdef void _free(self) noexcept
