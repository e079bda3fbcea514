cimport cython
from libc.stdint cimport int64_t, uintptr_t

from .arenas cimport Arena, Arenas
from .call cimport fastlstm_call
from .levels cimport Engine, kernel_t

cdef enum:
    IDLE_FRAMES = 8  # that a Runner keeps while nobody computes
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


@cython.final
cdef class Frame:
    cdef int64_t *fields
    cdef int64_t *bases  # addresses of the caller's arrays
    cdef char *memory  # of the arena that the fields point into
    cdef fastlstm_call *call  # that the kernels watch
    cdef Frame next  # of those that lie idle


cdef struct Divided:
    # Which of all instructions' fields are those of a team; -1: one thread computes the instruction.
    int member, members, meet, team


cdef struct Patch:
    int field  # which of all instructions' fields
    int array  # which of the caller's arrays
    int64_t offset  # bytes
    int64_t row_bytes


@cython.final
cdef class Runner:
    cdef readonly object program
    cdef readonly Engine engine
    cdef readonly Pace pace
    cdef readonly int64_t arena_size
    cdef int count, field_count, array_count, patch_count, scratch_count, watch_count
    cdef int input_count, output_count, state_count
    cdef int64_t block_rows
    cdef int64_t brief_rows  # so many are done with the GIL held
    cdef int64_t work  # for each row, as Program.work counts it, up to WORK_BETWEEN_LOOKS
    cdef kernel_t *calls
    cdef int *starts  # of each instruction's fields
    cdef Divided *divided
    cdef int *beside  # whether an instruction may be computed at the same time as the one before it; one more, which may not
    cdef int *watches  # which of all instructions' fields are those of the call
    cdef int64_t *times  # rows of each instruction for each row of the batch
    cdef int64_t *fields
    cdef int64_t *row_bytes  # of the caller's arrays: inputs, outputs, states
    cdef Patch *patches
    cdef Patch *scratch
    cdef object arrays  # encoding.CallerArrays
    cdef list offsets  # of the buffers in the arena
    cdef Arenas arenas
    cdef Frame idle  # of those that nobody uses, the one used last; the others follow it
    cdef int idle_count

    cdef Frame frame(self)

    cdef inline Arena arm(self, Frame frame):
        """Give a frame scratch."""
        cdef Arena arena = self.arenas.take(self.arena_size)
        self.point(frame, arena)
        return arena

    cdef inline void point(self, Frame frame, Arena arena) noexcept:
        """Have a frame's fields point into an arena. Mostly they do already."""
        cdef int n
        if frame.memory == arena.memory:
            return
        frame.memory = arena.memory
        for n in range(self.scratch_count):
            frame.fields[self.scratch[n].field] = <int64_t><uintptr_t>arena.memory + self.scratch[n].offset

    cdef inline void keep(self, Frame frame) noexcept:
        """Take back a frame that a call has used."""
        if self.idle_count < IDLE_FRAMES:
            frame.next = self.idle
            self.idle = frame
            self.idle_count += 1

    cdef int bind(self, Frame frame, list inputs, list outputs, list states, int64_t rows) except -1
    cdef int64_t address(self, object given, int number, int64_t rows) except -1
    cdef int compute(self, Frame frame, int64_t row, int64_t last, fastlstm_call *call) except -1
    cdef int blocks(self, Frame frame, int64_t row, int64_t last, fastlstm_call *call, int member) except -1 nogil
