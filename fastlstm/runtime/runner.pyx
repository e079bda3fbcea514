"""Runs Programs: calls the kernels of this CPU one after another, with the GIL released unless that takes longer than the work."""

import numpy as np

from ..program.ir import Buffer
from ..program.verifier import verify
from .encoding import encode
from .levels import engine

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .arenas cimport Arena, Arenas
from .call cimport (
    Watch, begin, fastlstm_call, fastlstm_floats, fastlstm_flush, fastlstm_interrupted, fastlstm_look, fastlstm_meet,
    fastlstm_set_floats, fastlstm_thread,
)
from .levels cimport kernel_t

cnp.import_array()

cdef enum:
    # Work, as Program.work counts it, of about two microseconds. So much is done with the GIL held: where several threads take such
    # short steps, releasing the GIL and waiting for it again costs several times as much as the step.
    BRIEF_WORK = 50_000
    # Work of about a tenth of a millisecond, after which a call looks whether it is to go on.
    WORK_BETWEEN_LOOKS = 2_500_000
    # Kernels take rows in tiles of at most so many (layout.MOST_TILE_ROWS): blocks are multiples of it.
    TILE_ROWS = 6
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


@cython.final
@cython.no_gc
cdef class Frame:
    """The memory of one running call, besides scratch: a copy of all instructions' fields."""

    def __cinit__(self, Runner runner):
        self.fields = <int64_t *>malloc(max(runner.field_count, 1) * sizeof(int64_t))
        self.bases = <int64_t *>malloc(max(runner.array_count, 1) * sizeof(int64_t))
        if self.fields == NULL or self.bases == NULL:
            raise MemoryError
        memcpy(self.fields, runner.fields, runner.field_count * sizeof(int64_t))

    def __dealloc__(self):
        free(self.fields)
        free(self.bases)


cdef void *zeros(int count, size_t size) except NULL:
    """Allocate zeroed memory for so many things of a size."""
    cdef void *memory = calloc(max(count, 1), size)
    if memory == NULL:
        raise MemoryError
    return memory


@cython.final
cdef class Runner:
    """A Program made ready to run. Several threads may run one Runner at once.

    Parameters
    ----------
    program : fastlstm.program.ir.Program
    level : str, optional
        See :func:`engine`. Its constants must be packed for that level's lanes.
    arenas : Arenas, optional
        Whose scratch it computes in; by default its own.
    """

    def __init__(self, program, str level=None, Arenas arenas=None):
        self.program, self.engine = program, engine(level)
        self.arenas = Arenas() if arenas is None else arenas
        self.pace = Pace(program)
        verify(program, self.engine.lanes)
        self.block_rows = max(1, program.block_rows)
        self.work = min(max(1, program.work), WORK_BETWEEN_LOOKS)
        self.brief_rows = BRIEF_WORK // self.work
        encoded = encode(program, self.engine)
        self.arrays, self.offsets, self.arena_size = encoded.arrays, encoded.offsets, encoded.arena_size
        allocate(self, encoded)
        store(self, encoded)

    def __dealloc__(self):
        free(self.calls)
        free(self.starts)
        free(self.divided)
        free(self.beside)
        free(self.times)
        free(self.fields)
        free(self.row_bytes)
        free(self.patches)
        free(self.scratch)
        free(self.watches)

    def __reduce__(self):
        return Runner, (self.program, self.engine.level)

    def run(
        self, list inputs not None, list outputs not None, list states not None, Py_ssize_t first=0, Py_ssize_t last=-1, Watch watch=None,
    ):
        """Compute rows [first, last) of the batch.

        Parameters
        ----------
        inputs, outputs, states : lists of numpy.ndarray
            C-contiguous, of the Program's dtypes, batch first. Outputs and states are written in place.
        first, last : int
            Which rows; by default all of the first input (of the first output where there is no input).
        watch : Watch, optional
            Of the call of which this is a part.
        """
        cdef Frame frame
        cdef Arena arena
        if last < 0:
            last = len(inputs[0] if inputs else outputs[0])
        if first < 0 or first > last:
            raise ValueError(f"rows {first} to {last}: not a range")
        frame = self.frame()
        self.bind(frame, inputs, outputs, states, last)
        arena = self.arm(frame)
        try:
            self.compute(frame, first, last, NULL if watch is None else &watch.call)
        finally:
            self.arenas.give(arena)
            self.keep(frame)

    cdef Frame frame(self):
        """Return a frame that nobody uses."""
        cdef Frame frame = self.idle
        if frame is None:
            return Frame(self)
        self.idle = frame.next
        frame.next = None
        self.idle_count -= 1
        return frame

    cdef int bind(self, Frame frame, list inputs, list outputs, list states, int64_t rows) except -1:
        """Note where the caller's arrays are, each of which must have so many rows."""
        cdef int n, a
        if len(inputs) < self.input_count or len(outputs) < self.output_count or len(states) < self.state_count:
            raise ValueError(
                f"expected {self.input_count} inputs, {self.output_count} outputs and {self.state_count} states, "
                f"found {len(inputs)}, {len(outputs)} and {len(states)}"
            )
        a = 0
        for n in range(self.input_count):
            frame.bases[a] = self.address(<object>inputs[n], a, rows)
            a += 1
        for n in range(self.output_count):
            frame.bases[a] = self.address(<object>outputs[n], a, rows)
            a += 1
        for n in range(self.state_count):
            frame.bases[a] = self.address(<object>states[n], a, rows)
            a += 1
        return 0

    cdef int64_t address(self, object given, int number, int64_t rows) except -1:
        """Return the address of a caller's array, which must be large enough."""
        if not cnp.PyArray_Check(given):
            raise ValueError(f"expected an array, found {type(given).__name__}")
        cdef cnp.ndarray array = given
        if not cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_NBYTES(array) < rows * self.row_bytes[number]:
            raise ValueError(
                f"expected a contiguous array of {rows} rows of {self.row_bytes[number]} bytes, found shape {given.shape} {given.dtype}"
            )
        if number >= self.input_count and not cnp.PyArray_ISWRITEABLE(array):
            raise ValueError("expected an array that can be written")
        return <int64_t><uintptr_t>cnp.PyArray_DATA(array)

    cdef int compute(self, Frame frame, int64_t row, int64_t last, fastlstm_call *call) except -1:
        """Compute rows [row, last), with ``frame.bases`` set. Without a ``call`` of which it is a part, it is a call by itself."""
        cdef fastlstm_call own
        if last - row <= self.brief_rows:
            return self.blocks(frame, row, last, NULL, 0)
        if call == NULL:
            call = &own
            begin(call)
        with nogil:
            self.blocks(frame, row, last, call, 0)
        return 0

    cdef int blocks(self, Frame frame, int64_t row, int64_t last, fastlstm_call *call, int member) except -1 nogil:
        """Compute rows [row, last), block by block.

        A member of a team computes its part of the divided instructions, and the first member all others, but for those that may be
        computed at the same time as the one before: these are the second member's. A call is left early once it is told to stop; brief
        ones, without a ``call``, are not.
        """
        cdef uint64_t floats = fastlstm_floats()
        cdef bint team = call != NULL and call.members > 0
        cdef int n
        if call != NULL:
            if call.stop:
                return 0
            if call.asker == fastlstm_thread():
                call.floats = floats
        address_call(self, frame, call, member)
        # Blocks of similar size: a small one at the end would read all weights for few rows.
        cdef int64_t parts = max(1, (last - row + self.block_rows - 1) // self.block_rows)
        cdef int64_t tiles = ((last - row + parts - 1) // parts + TILE_ROWS - 1) // TILE_ROWS
        cdef int64_t most = min(self.block_rows, tiles * TILE_ROWS)
        cdef int64_t rows, share, worked = 0
        fastlstm_flush(floats)
        while row < last:
            rows = min(most, last - row)
            share = 0 if call == NULL else 1 + rows * self.work // max(self.count, 1)
            address_block(self, frame, row)
            for n in range(self.count):
                if self.calls[n] == NULL:
                    fastlstm_set_floats(floats)
                    with gil:
                        call_back(self, n, frame, row, rows)
                    fastlstm_flush(floats)
                    continue
                if self.divided[n].member >= 0 or member == (self.beside[n] if team else 0):
                    frame.fields[self.starts[n]] = rows * self.times[n]
                    self.calls[n](frame.fields + self.starts[n])
                if team and not self.beside[n + 1]:
                    fastlstm_meet(<int64_t><uintptr_t>call)
                worked += share
                if worked >= WORK_BETWEEN_LOOKS:
                    worked = 0
                    fastlstm_look(<int64_t><uintptr_t>call)
                if call != NULL and call.stop:
                    row = last
                    break
            row += rows
        fastlstm_set_floats(floats)
        return 0 if call == NULL else fastlstm_interrupted(call)


cdef int allocate(Runner runner, encoded) except -1:
    """Give a Runner memory for what was encoded."""
    runner.count = len(encoded.starts)
    runner.field_count, runner.watch_count = len(encoded.values), len(encoded.watches)
    runner.patch_count, runner.scratch_count = len(encoded.patches), len(encoded.scratch)
    runner.input_count, runner.output_count, runner.state_count = runner.arrays.inputs, runner.arrays.outputs, runner.arrays.states
    runner.array_count = runner.input_count + runner.output_count + runner.state_count
    runner.calls = <kernel_t *>zeros(runner.count, sizeof(kernel_t))
    runner.starts = <int *>zeros(runner.count, sizeof(int))
    runner.divided = <Divided *>zeros(runner.count, sizeof(Divided))
    runner.beside = <int *>zeros(runner.count + 1, sizeof(int))
    runner.times = <int64_t *>zeros(runner.count, sizeof(int64_t))
    runner.fields = <int64_t *>zeros(runner.field_count, sizeof(int64_t))
    runner.watches = <int *>zeros(runner.watch_count, sizeof(int))
    runner.patches = <Patch *>zeros(runner.patch_count, sizeof(Patch))
    runner.scratch = <Patch *>zeros(runner.scratch_count, sizeof(Patch))
    runner.row_bytes = <int64_t *>zeros(runner.array_count, sizeof(int64_t))
    return 0


cdef int store(Runner runner, encoded) except -1:
    """Fill that memory."""
    cdef int n
    for n in range(runner.count):
        runner.calls[n] = <kernel_t><uintptr_t>encoded.addresses[n]
        runner.starts[n] = encoded.starts[n]
        runner.divided[n].member, runner.divided[n].members, runner.divided[n].meet, runner.divided[n].team = encoded.divided[n]
        runner.beside[n] = encoded.beside[n]
        runner.times[n] = runner.program.instructions[n].times
    for n in range(runner.field_count):
        runner.fields[n] = encoded.values[n]
    for field, number, offset in encoded.constants:
        runner.fields[<int>field] = <int64_t><uintptr_t>cnp.PyArray_DATA(runner.program.constants[number]) + <int64_t>offset
    for n in range(runner.watch_count):
        runner.watches[n] = encoded.watches[n][0]
        runner.fields[<int>encoded.watches[n][1]] = <int64_t><uintptr_t>&fastlstm_look
    for n in range(runner.patch_count):
        runner.patches[n].field, runner.patches[n].array, runner.patches[n].offset, runner.patches[n].row_bytes = encoded.patches[n]
    for n in range(runner.scratch_count):
        runner.scratch[n].field, runner.scratch[n].offset = encoded.scratch[n]
    for n in range(runner.array_count):
        runner.row_bytes[n] = runner.arrays.row_bytes[n]
    return 0


cdef inline void address_call(Runner runner, Frame frame, fastlstm_call *call, int member) noexcept nogil:
    """Fill in the fields that tell kernels of the call and of the team that computes it."""
    cdef int n
    for n in range(runner.count):
        if runner.divided[n].member >= 0:
            frame.fields[runner.divided[n].member] = member
            frame.fields[runner.divided[n].members] = 0 if call == NULL else call.members
            frame.fields[runner.divided[n].meet] = <int64_t><uintptr_t>&fastlstm_meet
            frame.fields[runner.divided[n].team] = <int64_t><uintptr_t>call
    if frame.call != call:
        frame.call = call
        for n in range(runner.watch_count):
            frame.fields[runner.watches[n]] = <int64_t><uintptr_t>call


cdef inline void address_block(Runner runner, Frame frame, int64_t row) noexcept nogil:
    """Fill in where the rows from ``row`` on lie in the caller's arrays."""
    cdef int n
    for n in range(runner.patch_count):
        frame.fields[runner.patches[n].field] = (
            frame.bases[runner.patches[n].array] + row * runner.patches[n].row_bytes + runner.patches[n].offset
        )


cdef int call_back(Runner runner, int n, Frame frame, int64_t row, int64_t rows) except -1:
    """Call the Python function of an instruction with views of the block: uint8 (rows, bytes of a row)."""
    cdef cnp.npy_intp shape[2]
    cdef int64_t address
    instruction = runner.program.instructions[n]
    views = {}
    for value in instruction.fields.values():
        if not isinstance(value, Buffer):
            continue
        info = runner.program.buffers[value.index]
        if info.kind == "scratch":
            address = <int64_t><uintptr_t>frame.memory + <int64_t>runner.offsets[value.index]
        else:
            address = frame.bases[<int>runner.arrays.number(info)] + row * <int64_t>info.row_bytes
        shape[0], shape[1] = rows, info.row_bytes
        views[value.index] = cnp.PyArray_SimpleNewFromData(2, shape, cnp.NPY_UINT8, <void *><uintptr_t>address)
    instruction.function(rows * runner.times[n], views)
    return 0
