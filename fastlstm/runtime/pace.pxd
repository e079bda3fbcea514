from libc.stdint cimport int64_t

cdef enum:
    SIZES = 64  # of batches, each up to twice the one before

cdef extern from "portable.h" nogil:
    int64_t fastlstm_ticks()


cdef struct Measured:
    # Of one thread and of several: nanoseconds a row, and how many calls were timed.
    double alone, shared
    int64_t alone_calls, shared_calls
    int64_t choices  # that were made since both are known


cdef class Pace:
    cdef double row, divided
    cdef int64_t most_divided
    cdef Measured measured[SIZES]

    cdef int64_t brief(self, int64_t limit) noexcept
    cdef bint shares(self, int64_t rows, int64_t limit) noexcept
    cdef void note(self, int64_t rows, int64_t nanoseconds, bint shared) noexcept
