# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Runs Programs: picks the kernels of this CPU, and calls them one after another with the GIL released."""

import os
import threading

import numpy as np

from .arena import arrange
from .contracts import CONTRACTS, CREW
from .errors import InputError, KernelError
from .program import At, Buffer, Constant
from .verifier import verify

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cnp.import_array()

ctypedef void (*kernel_t)(int64_t *) noexcept nogil

include "levels.pxi"
include "crew.pxi"
include "entry.pxi"

#: Work, as Program.work counts it, of about two microseconds. So much is done with the GIL held: where several threads work in
#: so small steps, handing it over and waiting for it again takes several times as long.
cdef int64_t BRIEF = 50_000


cdef class Frame:
    """What one running call needs for itself: a copy of all instructions' fields, and scratch."""

    cdef int64_t *fields
    cdef int64_t *bases  # addresses of the caller's arrays
    cdef void *memory
    cdef char *arena

    def __cinit__(self, Runner runner, Frame other=None):
        """``other``: whose scratch and arrays this one works on too."""
        self.memory = NULL
        self.fields = <int64_t *>malloc(max(runner.field_count, 1) * sizeof(int64_t))
        self.bases = <int64_t *>malloc(max(runner.array_count, 1) * sizeof(int64_t))
        if self.fields == NULL or self.bases == NULL:
            raise MemoryError
        memcpy(self.fields, runner.fields, runner.field_count * sizeof(int64_t))
        if other is not None:
            self.arena = other.arena
            memcpy(self.bases, other.bases, runner.array_count * sizeof(int64_t))
        else:
            self.memory = malloc(runner.arena_size + 64)
            if self.memory == NULL:
                raise MemoryError
            self.arena = <char *>((<uintptr_t>self.memory + 63) & ~(<uintptr_t>63))
        cdef int n
        for n in range(runner.scratch_count):
            self.fields[runner.scratch[n].field] = <int64_t><uintptr_t>self.arena + runner.scratch[n].offset

    def __dealloc__(self):
        free(self.fields)
        free(self.bases)
        free(self.memory)


cdef struct Divided:
    # Which of all instructions' fields are those of a crew; -1: the instruction is one thread's.
    int member, members, meet, crew


cdef struct Patch:
    int field  # which of all instructions' fields
    int array  # which of the caller's arrays
    int64_t offset  # bytes
    int64_t row_bytes


cdef class Runner:
    """A Program made ready to run. Several threads may run one Runner at once.

    Parameters
    ----------
    program : fastlstm.program.Program
    level : str, optional
        See :func:`engine`. Its constants must be packed for that level's lanes.
    """

    cdef readonly object program
    cdef readonly Engine engine
    cdef readonly int64_t arena_size
    cdef int count, field_count, array_count, patch_count, scratch_count
    cdef int64_t block_rows, brief_rows
    cdef kernel_t *calls
    cdef int *starts
    cdef Divided *divided
    cdef int64_t *times  # rows of each instruction for each row of the batch
    cdef int64_t *fields
    cdef int64_t *row_bytes  # of the caller's arrays: inputs, outputs, states
    cdef Patch *patches
    cdef Patch *scratch
    cdef int input_count, output_count, state_count
    cdef list offsets  # of the buffers in the arena
    cdef list idle  # Frames

    def __cinit__(self):
        self.calls, self.starts, self.divided, self.times, self.fields, self.row_bytes = NULL, NULL, NULL, NULL, NULL, NULL
        self.patches, self.scratch = NULL, NULL

    def __init__(self, program, str level=None):
        self.program, self.engine, self.idle = program, engine(level), []
        verify(program, self.engine.lanes)
        self.count = len(program.instructions)
        self.block_rows = max(1, program.block_rows)
        self.brief_rows = BRIEF // max(1, program.work)
        self.offsets, self.arena_size = arrange(program.instructions, program.buffers, self.block_rows)
        self._count_arrays()
        values, patches, scratch, starts, calls, divided = [], [], [], [], [], []
        for instruction in program.instructions:
            starts.append(len(values))
            divided.append([-1] * len(CREW))
            if instruction.function is not None:
                calls.append(0)
                continue
            if instruction.members > 1:
                names = self.engine.fields[instruction.kernel]
                divided[len(divided) - 1] = [len(values) + names.index(name) for name in CREW]
            calls.append(self.engine.addresses[instruction.kernel])
            self._encode(instruction, values, patches, scratch)
        self.field_count, self.patch_count, self.scratch_count = len(values), len(patches), len(scratch)
        self.calls = <kernel_t *>calloc(max(self.count, 1), sizeof(kernel_t))
        self.starts = <int *>calloc(max(self.count, 1), sizeof(int))
        self.divided = <Divided *>calloc(max(self.count, 1), sizeof(Divided))
        self.times = <int64_t *>calloc(max(self.count, 1), sizeof(int64_t))
        self.fields = <int64_t *>calloc(max(self.field_count, 1), sizeof(int64_t))
        self.patches = <Patch *>calloc(max(self.patch_count, 1), sizeof(Patch))
        self.scratch = <Patch *>calloc(max(self.scratch_count, 1), sizeof(Patch))
        if self.calls == NULL or self.starts == NULL or self.divided == NULL or self.times == NULL or self.fields == NULL:
            raise MemoryError
        if self.patches == NULL or self.scratch == NULL:
            raise MemoryError
        cdef int n
        for n in range(self.count):
            self.calls[n] = <kernel_t><uintptr_t>calls[n]
            self.starts[n] = starts[n]
            self.divided[n].member, self.divided[n].members, self.divided[n].meet, self.divided[n].crew = divided[n]
            self.times[n] = program.instructions[n].times
        for n in range(self.field_count):
            self.fields[n] = values[n]
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
        names = self.engine.fields[instruction.kernel]
        for name in names:
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
                values.append(self.program.constants[value.index].ctypes.data + offset)
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

    def __reduce__(self):
        return Runner, (self.program, self.engine.level)

    def run(self, list inputs not None, list outputs not None, list states not None, Py_ssize_t first=0, Py_ssize_t last=-1):
        """Compute rows [first, last) of the batch.

        Parameters
        ----------
        inputs, outputs, states : lists of numpy.ndarray
            C-contiguous, of the Program's dtypes, batch first. Outputs and states are written in place.
        first, last : int
            Which rows; by default all of the first input (of the first output where there is none).
        """
        cdef Frame frame
        if last < 0:
            last = len(inputs[0] if inputs else outputs[0])
        if first < 0 or first > last:
            raise ValueError(f"rows {first} to {last}: not a range")
        frame = self._frame()
        self._bind(frame, inputs, outputs, states, last)
        self._compute(frame, first, last)
        self.idle.append(frame)

    cdef Frame _frame(self):
        """One that nobody uses."""
        return self.idle.pop() if self.idle else Frame(self)

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

    cdef int _compute(self, Frame frame, int64_t row, int64_t last) except -1:
        """Rows [row, last); frame.bases are set."""
        if last - row <= self.brief_rows:
            return self._blocks(frame, row, last, NULL, 0)
        with nogil:
            self._blocks(frame, row, last, NULL, 0)
        return 0

    cdef int _blocks(self, Frame frame, int64_t row, int64_t last, fastlstm_crew *crew, int member) except -1 nogil:
        """The same, block by block; as a member of a crew, its part of what is divided, and the first member all else."""
        cdef int n
        for n in range(self.count):
            if self.divided[n].member >= 0:
                frame.fields[self.divided[n].member] = member
                frame.fields[self.divided[n].members] = 0 if crew == NULL else crew.members
                frame.fields[self.divided[n].meet] = <int64_t><uintptr_t>&fastlstm_meet
                frame.fields[self.divided[n].crew] = <int64_t><uintptr_t>crew
        # Blocks of like size, as a small last one would read all weights for few rows.
        cdef int64_t parts = max(1, (last - row + self.block_rows - 1) // self.block_rows)
        cdef int64_t most = min(self.block_rows, ((last - row + parts - 1) // parts + 5) // 6 * 6)
        cdef int64_t rows
        while row < last:
            rows = min(most, last - row)
            for n in range(self.patch_count):
                frame.fields[self.patches[n].field] = (
                    frame.bases[self.patches[n].array] + row * self.patches[n].row_bytes + self.patches[n].offset
                )
            for n in range(self.count):
                if self.calls[n] != NULL:
                    if member == 0 or self.divided[n].member >= 0:
                        frame.fields[self.starts[n]] = rows * self.times[n]
                        self.calls[n](frame.fields + self.starts[n])
                    if crew != NULL:
                        fastlstm_meet(<int64_t><uintptr_t>crew)
                        if crew.broken:
                            return 0
                else:
                    with gil:
                        self._call_back(n, frame, row, rows)
            row += rows
        return 0

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
                address = <int64_t><uintptr_t>frame.arena + <int64_t>self.offsets[value.index]
            else:
                address = frame.bases[<int>self._array(info.kind, info.number)] + row * <int64_t>info.row_bytes
            shape[0], shape[1] = rows, info.row_bytes
            arrays[value.index] = cnp.PyArray_SimpleNewFromData(2, shape, cnp.NPY_UINT8, <void *><uintptr_t>address)
        instruction.function(rows * self.times[n], arrays)
        return 0
