"""A Program as the runtime reads it: the fields of all kernels in one row of int64, and which of them are filled in when it runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..program.arena import arrange
from ..program.contract import TEAM, WATCH
from ..program.ir import At, Buffer, BufferInfo, Constant, Instruction, Program
from ..program.layout import FLOAT
from .levels import Engine

#: Where an instruction that one thread computes has the fields of a team: nowhere.
NOBODY = (-1,) * len(TEAM)


class CallerArrays:
    """The arrays that a caller gives, numbered: inputs, then outputs, then states.

    Attributes
    ----------
    inputs, outputs, states
        How many there are of each kind.
    row_bytes
        Of each array, by its number.
    """

    def __init__(self, buffers: Sequence[BufferInfo]):
        sizes: dict[str, dict[int, int]] = {"input": {}, "output": {}, "state": {}}
        for info in buffers:
            if info.kind != "scratch":
                known = sizes[info.kind]
                known[info.number] = max(known.get(info.number, 0), info.row_bytes)
        self.inputs, self.outputs, self.states = (max(known, default=-1) + 1 for known in sizes.values())
        self._first = {"input": 0, "output": self.inputs, "state": self.inputs + self.outputs}
        self.row_bytes = [0] * (self.inputs + self.outputs + self.states)
        for kind, known in sizes.items():
            for number, size in known.items():
                self.row_bytes[self._first[kind] + number] = size

    def number(self, info: BufferInfo) -> int:
        """The number of the array that a buffer is a part of."""
        return self._first[info.kind] + info.number


class Encoded:
    """The fields of all instructions, one after another, and where among them those stand that are known only at a call.

    Attributes
    ----------
    arrays
        The caller's.
    offsets, arena_size
        Where in the arena each buffer lies, and the bytes that all of them take.
    values
        All fields; 0 for those that are filled in later.
    starts
        For each instruction, where its fields begin.
    addresses
        For each instruction, where its kernel's code lies; 0: it calls a Python function.
    divided
        For each instruction, where the fields stand that ``contracts.TEAM`` names.
    beside
        For each instruction, whether it may be computed at the same time as the one before it.
    watches
        Where the fields stand that ``contracts.WATCH`` names, of the instructions that have them.
    patches
        (field, the caller's array, offset in bytes, bytes of a row): addresses in the caller's arrays.
    scratch
        (field, offset in bytes): addresses in the arena.
    constants
        (field, the constant's number, offset in bytes): addresses in the Program's constants, which the Runner fills in once. (Where
        memory is short, NumPy's ``__array_interface__`` crashes.)
    """

    def __init__(self, arrays: CallerArrays, offsets: list[int], arena_size: int):
        self.arrays, self.offsets, self.arena_size = arrays, offsets, arena_size
        self.values: list[int] = []
        self.starts: list[int] = []
        self.addresses: list[int] = []
        self.divided: list[tuple[int, ...]] = []
        self.beside: list[bool] = []
        self.watches: list[tuple[int, ...]] = []
        self.patches: list[tuple[int, int, int, int]] = []
        self.scratch: list[tuple[int, int]] = []
        self.constants: list[tuple[int, int, int]] = []


def encode(program: Program, engine: Engine) -> Encoded:
    """Write a Program down for the kernels of a level."""
    offsets, size = arrange(program.instructions, program.buffers, max(1, program.block_rows))
    encoded = Encoded(CallerArrays(program.buffers), offsets, size)
    for instruction in program.instructions:
        start = len(encoded.values)
        encoded.starts.append(start)
        encoded.beside.append(instruction.beside)
        if instruction.function is not None:
            encoded.addresses.append(0)
            encoded.divided.append(NOBODY)
            continue
        names = engine.fields[instruction.kernel]
        encoded.addresses.append(engine.addresses[instruction.kernel])
        encoded.divided.append(places(TEAM, names, start) if instruction.members > 1 else NOBODY)
        if set(WATCH) <= set(names):
            encoded.watches.append(places(WATCH, names, start))
        append_fields(encoded, program, instruction, names, engine.floats[instruction.kernel])
    return encoded


def places(wanted: Sequence[str], names: Sequence[str], start: int) -> tuple[int, ...]:
    """Where fields of these names stand, among all fields, of an instruction whose own begin at ``start``."""
    return tuple(start + names.index(name) for name in wanted)


def append_fields(encoded: Encoded, program: Program, instruction: Instruction, names: Sequence[str], floats: frozenset[str]) -> None:
    """Append the fields of an instruction, and note those that are filled in later."""
    values, given = encoded.values, instruction.fields
    for name in names:
        value = given.get(name)
        if value is None:  # a null address, or what the runtime fills in
            values.append(0)
        elif isinstance(value, (At, Buffer, Constant)):
            note_address(encoded, program, value)
            values.append(0)
        elif name in floats:
            values.append(int(np.float32(value).view(np.uint32)))
        else:
            values.append(int(value))


def note_address(encoded: Encoded, program: Program, value: At | Buffer | Constant) -> None:
    """Note which address the next field will hold."""
    place = len(encoded.values)
    target, offset = (value.target, FLOAT * value.offset) if isinstance(value, At) else (value, 0)
    if isinstance(target, Constant):
        encoded.constants.append((place, target.index, offset))
        return
    info = program.buffers[target.index]
    if info.kind == "scratch":
        encoded.scratch.append((place, encoded.offsets[target.index] + offset))
    else:
        encoded.patches.append((place, encoded.arrays.number(info), offset, info.row_bytes))
