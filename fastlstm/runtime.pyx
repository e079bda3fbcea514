# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, embedsignature=True
"""Runs Programs: picks the kernels of this CPU, and calls them one after another with the GIL released."""

import os
import threading

import numpy as np

from .program.arena import arrange
from .program.contracts import CONTRACTS, CREW, WATCH
from .errors import InputError, KernelError
from .forking import in_child
from .program.ir import At, Buffer, Constant
from .program.verifier import verify

cimport cython
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cnp.import_array()

ctypedef void (*kernel_t)(int64_t *) noexcept nogil

include "levels.pxi"
include "arenas.pxi"
include "call.pxi"
include "crew.pxi"
include "entry.pxi"

#: Work, as Program.work counts it, of about two microseconds. So much is done with the GIL held: where several threads work in
#: so small steps, handing it over and waiting for it again takes several times as long.
cdef int64_t BRIEF = 50_000
#: Work of about a tenth of a millisecond: between two looks at whether the call is to go on.
cdef int64_t PATIENCE = 2_500_000


@cython.final
@cython.no_gc
cdef class Frame:
    """What one running call needs for itself, besides scratch: a copy of all instructions' fields."""

    cdef int64_t *fields
    cdef int64_t *bases  # addresses of the caller's arrays
    cdef char *memory  # of the arena that the fields point into
    cdef fastlstm_call *call  # that the kernels watch
    cdef Frame next  # of those that lie idle

    def __cinit__(self, Runner runner):
        self.fields = <int64_t *>malloc(max(runner.field_count, 1) * sizeof(int64_t))
        self.bases = <int64_t *>malloc(max(runner.array_count, 1) * sizeof(int64_t))
        if self.fields == NULL or self.bases == NULL:
            raise MemoryError
        memcpy(self.fields, runner.fields, runner.field_count * sizeof(int64_t))
        self.call = NULL

    def __dealloc__(self):
        free(self.fields)
        free(self.bases)


cdef struct Divided:
    # Which of all instructions' fields are those of a crew; -1: the instruction is one thread's.
    int member, members, meet, crew


cdef struct Patch:
    int field  # which of all instructions' fields
    int array  # which of the caller's arrays
    int64_t offset  # bytes
    int64_t row_bytes


@cython.final
cdef class Runner:
    """A Program made ready to run. Several threads may run one Runner at once.

    Parameters
    ----------
    program : fastlstm.program.Program
    level : str, optional
        See :func:`engine`. Its constants must be packed for that level's lanes.
    arenas : Arenas, optional
        Whose scratch it computes in; by default its own.
    """

    cdef readonly object program
    cdef readonly Engine engine
    cdef readonly int64_t arena_size
    cdef int count, field_count, array_count, patch_count, scratch_count, watch_count
    cdef int64_t block_rows, brief_rows
    cdef int64_t work  # for each row, as Program.work counts it, up to PATIENCE
    cdef kernel_t *calls
    cdef int *starts
    cdef Divided *divided
    cdef int *watches  # which of all instructions' fields are those of the call
    cdef int64_t *times  # rows of each instruction for each row of the batch
    cdef int64_t *fields
    cdef int64_t *row_bytes  # of the caller's arrays: inputs, outputs, states
    cdef Patch *patches
    cdef Patch *scratch
    cdef int input_count, output_count, state_count
    cdef list offsets  # of the buffers in the arena
    cdef Frame idle  # those that nobody uses, the one used last first
    cdef int idle_count
    cdef Arenas arenas

    def __cinit__(self):
        self.calls, self.starts, self.divided, self.times, self.fields, self.row_bytes = NULL, NULL, NULL, NULL, NULL, NULL
        self.patches, self.scratch, self.watches = NULL, NULL, NULL

    def __init__(self, program, str level=None, Arenas arenas=None):
        self.program, self.engine = program, engine(level)
        self.arenas = Arenas() if arenas is None else arenas
        verify(program, self.engine.lanes)
        self.count = len(program.instructions)
        self.block_rows = max(1, program.block_rows)
        self.work = min(max(1, program.work), PATIENCE)
        self.brief_rows = BRIEF // self.work
        self.offsets, self.arena_size = arrange(program.instructions, program.buffers, self.block_rows)
        self._count_arrays()
        values, patches, scratch, starts, calls, divided, watches = [], [], [], [], [], [], []
        for instruction in program.instructions:
            starts.append(len(values))
            divided.append([-1] * len(CREW))
            if instruction.function is not None:
                calls.append(0)
                continue
            names = self.engine.fields[instruction.kernel]
            if instruction.members > 1:
                divided[len(divided) - 1] = [len(values) + names.index(name) for name in CREW]
            calls.append(self.engine.addresses[instruction.kernel])
            if set(WATCH) <= set(names):
                watches.append([len(values) + names.index(name) for name in WATCH])
            self._encode(instruction, values, patches, scratch)
        self.field_count, self.patch_count, self.scratch_count, self.watch_count = map(len, (values, patches, scratch, watches))
        self.calls = <kernel_t *>calloc(max(self.count, 1), sizeof(kernel_t))
        self.starts = <int *>calloc(max(self.count, 1), sizeof(int))
        self.divided = <Divided *>calloc(max(self.count, 1), sizeof(Divided))
        self.watches = <int *>calloc(max(self.watch_count, 1), sizeof(int))
        self.times = <int64_t *>calloc(max(self.count, 1), sizeof(int64_t))
        self.fields = <int64_t *>calloc(max(self.field_count, 1), sizeof(int64_t))
        self.patches = <Patch *>calloc(max(self.patch_count, 1), sizeof(Patch))
        self.scratch = <Patch *>calloc(max(self.scratch_count, 1), sizeof(Patch))
        if self.calls == NULL or self.starts == NULL or self.divided == NULL or self.times == NULL or self.fields == NULL:
            raise MemoryError
        if self.patches == NULL or self.scratch == NULL or self.watches == NULL:
            raise MemoryError
        cdef int n
        for n in range(self.count):
            self.calls[n] = <kernel_t><uintptr_t>calls[n]
            self.starts[n] = starts[n]
            self.divided[n].member, self.divided[n].members, self.divided[n].meet, self.divided[n].crew = divided[n]
            self.times[n] = program.instructions[n].times
        for n in range(self.field_count):
            self.fields[n] = values[n]
        for n in range(self.watch_count):
            self.watches[n] = watches[n][0]
            self.fields[<int>watches[n][1]] = <int64_t><uintptr_t>&fastlstm_look
        for n in range(self.patch_count):
            self.patches[n].field, self.patches[n].array, self.patches[n].offset, self.patches[n].row_bytes = patches[n]
        for n in range(self.scratch_count):
            self.scratch[n].field, self.scratch[n].offset = scratch[n]

    def _count_arrays(self):
        """Number the caller's arrays: inputs, then outputs, then states; note the bytes of a row of each."""
        sizes = {"input": {}, "output": {}, "state": {}}
        for info in self.program.buffers:
            if info.kind != "scratch":
                known = sizes[info.kind]
                known[info.number] = max(known.get(info.number, 0), info.row_bytes)
        self.input_count, self.output_count, self.state_count = (max(sizes[kind], default=-1) + 1 for kind in sizes)
        self.array_count = self.input_count + self.output_count + self.state_count
        self.row_bytes = <int64_t *>calloc(max(self.array_count, 1), sizeof(int64_t))
        if self.row_bytes == NULL:
            raise MemoryError
        for kind, known in sizes.items():
            for number, size in known.items():
                self.row_bytes[self._array(kind, number)] = size

    def _array(self, str kind, int number):
        return number + (0 if kind == "input" else self.input_count if kind == "output" else self.input_count + self.output_count)

    def _encode(self, instruction, list values, list patches, list scratch):
        """Append an instruction's fields as int64, and what must be filled in when it runs."""
        cdef cnp.ndarray array
        for name in self.engine.fields[instruction.kernel]:
            value = instruction.fields.get(name)
            offset = 0
            if isinstance(value, At):
                value, offset = value.target, 4 * value.offset
            if value is None:
                values.append(0)
            elif isinstance(value, Buffer):
                info = self.program.buffers[value.index]
                if info.kind == "scratch":
                    scratch.append((len(values), self.offsets[value.index] + offset))
                else:
                    patches.append((len(values), self._array(info.kind, info.number), offset, info.row_bytes))
                values.append(0)
            elif isinstance(value, Constant):
                array = self.program.constants[value.index]
                values.append(<uintptr_t>cnp.PyArray_DATA(array) + offset)
            elif name in self.engine.floats[instruction.kernel]:
                values.append(int(np.float32(value).view(np.uint32)))
            else:
                values.append(int(value))

    def __dealloc__(self):
        free(self.calls)
        free(self.starts)
        free(self.divided)
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
            Which rows; by default all of the first input (of the first output where there is none).
        watch : Watch, optional
            Of the call of which this is a part.
        """
        cdef Frame frame
        cdef Arena arena
        if last < 0:
            last = len(inputs[0] if inputs else outputs[0])
        if first < 0 or first > last:
            raise ValueError(f"rows {first} to {last}: not a range")
        frame = self._frame()
        self._bind(frame, inputs, outputs, states, last)
        arena = self._arm(frame)
        try:
            self._compute(frame, first, last, NULL if watch is None else &watch.call)
        finally:
            self.arenas.give(arena)
            self._keep(frame)

    cdef inline Frame _frame(self):
        """One that nobody uses."""
        cdef Frame frame = self.idle
        if frame is None:
            return Frame(self)
        self.idle = frame.next
        frame.next = None
        self.idle_count -= 1
        return frame

    cdef inline Arena _arm(self, Frame frame):
        """Give a frame scratch."""
        cdef Arena arena = self.arenas.take(self.arena_size)
        self._point(frame, arena)
        return arena

    cdef inline void _point(self, Frame frame, Arena arena) noexcept:
        """Have the fields point into an arena, as they mostly do."""
        cdef int n
        if frame.memory == arena.memory:
            return
        frame.memory = arena.memory
        for n in range(self.scratch_count):
            frame.fields[self.scratch[n].field] = <int64_t><uintptr_t>arena.memory + self.scratch[n].offset

    cdef inline void _keep(self, Frame frame) noexcept:
        """Take back what a call has used."""
        if self.idle_count < IDLE_FRAMES:
            frame.next = self.idle
            self.idle = frame
            self.idle_count += 1

    cdef int _bind(self, Frame frame, list inputs, list outputs, list states, int64_t rows) except -1:
        """Note where the caller's arrays are, which must have so many rows."""
        cdef int n, a
        if len(inputs) < self.input_count or len(outputs) < self.output_count or len(states) < self.state_count:
            raise ValueError(
                f"expected {self.input_count} inputs, {self.output_count} outputs and {self.state_count} states, "
                f"found {len(inputs)}, {len(outputs)} and {len(states)}"
            )
        a = 0
        for n in range(self.input_count):
            frame.bases[a] = self._address(<object>inputs[n], a, rows)
            a += 1
        for n in range(self.output_count):
            frame.bases[a] = self._address(<object>outputs[n], a, rows)
            a += 1
        for n in range(self.state_count):
            frame.bases[a] = self._address(<object>states[n], a, rows)
            a += 1
        return 0

    cdef inline int _compute(self, Frame frame, int64_t row, int64_t last, fastlstm_call *call) except -1:
        """Rows [row, last); frame.bases are set. Without a ``call`` to be a part of, it is one by itself."""
        cdef fastlstm_call own
        if last - row <= self.brief_rows:
            return self._blocks(frame, row, last, NULL, 0)
        if call == NULL:
            call = &own
            begin(call)
        with nogil:
            self._blocks(frame, row, last, call, 0)
        return 0

    cdef int _blocks(self, Frame frame, int64_t row, int64_t last, fastlstm_call *call, int member) except -1 nogil:
        """The same, block by block; as a member of a crew, its part of what is divided, and the first member all else.

        A call is left early once it is told to stop; brief ones, which have none, are not.
        """
        cdef uint64_t floats = fastlstm_floats()
        cdef int n
        cdef bint crew = call != NULL and call.members > 0
        if call != NULL:
            if call.stop:
                return 0
            if call.asker == fastlstm_thread():
                call.floats = floats
        for n in range(self.count):
            if self.divided[n].member >= 0:
                frame.fields[self.divided[n].member] = member
                frame.fields[self.divided[n].members] = call.members if crew else 0
                frame.fields[self.divided[n].meet] = <int64_t><uintptr_t>&fastlstm_meet
                frame.fields[self.divided[n].crew] = <int64_t><uintptr_t>call
        if frame.call != call:
            frame.call = call
            for n in range(self.watch_count):
                frame.fields[self.watches[n]] = <int64_t><uintptr_t>call
        # Blocks of like size, as a small last one would read all weights for few rows.
        cdef int64_t parts = max(1, (last - row + self.block_rows - 1) // self.block_rows)
        cdef int64_t most = min(self.block_rows, ((last - row + parts - 1) // parts + 5) // 6 * 6)
        cdef int64_t rows, share, worked = 0
        fastlstm_flush(floats)
        while row < last:
            rows = min(most, last - row)
            share = 0 if call == NULL else 1 + rows * self.work // max(self.count, 1)
            for n in range(self.patch_count):
                frame.fields[self.patches[n].field] = (
                    frame.bases[self.patches[n].array] + row * self.patches[n].row_bytes + self.patches[n].offset
                )
            for n in range(self.count):
                if self.calls[n] == NULL:
                    fastlstm_set_floats(floats)
                    with gil:
                        self._call_back(n, frame, row, rows)
                    fastlstm_flush(floats)
                    continue
                if member == 0 or self.divided[n].member >= 0:
                    frame.fields[self.starts[n]] = rows * self.times[n]
                    self.calls[n](frame.fields + self.starts[n])
                if crew:
                    fastlstm_meet(<int64_t><uintptr_t>call)
                worked += share
                if worked >= PATIENCE:
                    worked = 0
                    fastlstm_look(<int64_t><uintptr_t>call)
                if call != NULL and call.stop:
                    row = last
                    break
            row += rows
        fastlstm_set_floats(floats)
        return 0 if call == NULL else fastlstm_interrupted(call)

    cdef int64_t _address(self, object given, int number, int64_t rows) except -1:
        """Address of a caller's array, which must be large enough."""
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

    cdef int _call_back(self, int n, Frame frame, int64_t row, int64_t rows) except -1:
        """Call the Python function of an instruction with views of the block: uint8 (rows, bytes of a row)."""
        cdef cnp.npy_intp shape[2]
        cdef int64_t address
        instruction = self.program.instructions[n]
        arrays = {}
        for value in instruction.fields.values():
            if not isinstance(value, Buffer):
                continue
            info = self.program.buffers[value.index]
            if info.kind == "scratch":
                address = <int64_t><uintptr_t>frame.memory + <int64_t>self.offsets[value.index]
            else:
                address = frame.bases[<int>self._array(info.kind, info.number)] + row * <int64_t>info.row_bytes
            shape[0], shape[1] = rows, info.row_bytes
            arrays[value.index] = cnp.PyArray_SimpleNewFromData(2, shape, cnp.NPY_UINT8, <void *><uintptr_t>address)
        instruction.function(rows * self.times[n], arrays)
        return 0


def _put_right(kind):
    """In a forked process the thread that forked is the main one, and nobody else holds a lock."""
    global _engines_lock, main_thread
    _engines_lock, main_thread = threading.RLock(), fastlstm_thread()


in_child(Engine, _put_right)
