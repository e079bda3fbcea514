"""How long the rows of a Program take, alone and shared, as it was measured: each call goes the way that is done sooner."""

from libc.stdint cimport int64_t

cdef enum:
    # What is guessed to take so many times as long as what may be worth sharing is shared without being timed.
    CERTAIN = 32
    # So many times less than that is not timed either.
    BRIEF = 16
    # Calls each way before they are compared.
    TRIED = 3
    # So many calls later one goes the other way, to see whether that has become the better one.
    AGAIN = 32
    # How slowly what is known changes with what is timed: of the way that most calls go, and of the other one.
    INERTIA = 8
    OTHER_INERTIA = 2
    # Times longer than that many times what is known count as so many times: something else happened.
    OUTLIER = 2

#: Nanoseconds for each unit of Program.work, on a fast processor: a slow one takes four times as many.
GUESS = 0.0125


def ticks() -> int:
    """Nanoseconds of a clock that is fine enough to time a call."""
    return fastlstm_ticks()


cdef class Pace:
    """What is known of the time that a Program takes.

    The work of a Program is known beforehand, its time is not: processors differ, and so does the time in which they wake each other up;
    activations are not counted, and masked timesteps are not computed. So calls of about one size are timed, by one thread and shared
    among several.

    Parameters
    ----------
    program : fastlstm.program.ir.Program
    """

    def __init__(self, program):
        cdef double work = max(1, program.work)
        self.row = GUESS * work
        self.most_divided = min(program.block_rows, program.together_rows) if program.members > 1 else 0
        self.divided = min(1.0, program.divided_work / work)

    def is_shared(self, int64_t rows, int64_t limit):
        """Is a call of so many rows to be shared, where ``limit`` nanoseconds of one thread may be worth it?"""
        return self.shares(rows, limit)

    def took(self, int64_t rows, int64_t nanoseconds, bint shared):
        """Note what a call of so many rows took, alone or shared."""
        self.note(rows, nanoseconds, shared)

    cdef int64_t brief(self, int64_t limit) noexcept:
        """Return up to how many rows cannot be shared, or are so far from being worth it that they need not be timed."""
        return max(0 if self.most_divided else 1, <int64_t>min(<double>limit / BRIEF / self.row, <double>limit))

    cdef bint shares(self, int64_t rows, int64_t limit) noexcept:
        # Of what a team computes, it divides only a part.
        cdef double part = rows * (self.divided if rows <= self.most_divided else 1.0)
        cdef Measured *found = &self.measured[size_of(rows)]
        cdef bint better
        if rows < (1 if self.most_divided else 2):
            return False
        if self.row * part >= <double>limit * CERTAIN:
            return True
        if found.alone_calls < TRIED or found.alone * part < limit:
            return False
        if found.shared_calls < TRIED:
            return True
        better = found.shared < found.alone
        found.choices = (found.choices + 1) % AGAIN
        return better if found.choices else not better

    cdef void note(self, int64_t rows, int64_t nanoseconds, bint shared) noexcept:
        if rows < 1:
            return
        cdef Measured *found = &self.measured[size_of(rows)]
        cdef double row = <double>nanoseconds / rows
        cdef int inertia = INERTIA if shared == (found.shared < found.alone) else OTHER_INERTIA
        if shared:
            found.shared = mixed(found.shared, found.shared_calls, row, inertia)
            found.shared_calls += 1
        else:
            found.alone = mixed(found.alone, found.alone_calls, row, inertia)
            found.alone_calls += 1


cdef inline double mixed(double known, int64_t calls, double found, int inertia) noexcept:
    """Return what is known after one call more. The first ones warm caches up: the least of them counts."""
    if calls < TRIED:
        return found if calls == 0 else min(known, found)
    return known + (min(found, OUTLIER * known) - known) / inertia


cdef inline int size_of(int64_t rows) noexcept:
    """Return the place of calls of about so many rows."""
    cdef int size = 0
    while rows > 1:
        rows >>= 1
        size += 1
    return size
