"""No Program runs before it is proven that its kernels stay inside what they are given.

What layers' ``lower`` write is compared with the kernels' contracts. A Program that breaks one is this library's own bug, whatever
file it was made from: the answer is a KernelError, and never a read of somebody else's memory.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import KernelError
from . import layout
from .contract import Contract, Room, Span
from .contracts import CONTRACTS
from .ir import At, Buffer, BufferInfo, Constant, Instruction, Program

#: What fits the fields of kernels.
WORD = 1 << 63
#: What every error here ends with.
OURS = "this is a bug of fastlstm, please report it"


def verify(program: Program, lanes: int) -> None:
    """Prove a Program.

    Parameters
    ----------
    program
        With constants packed for a level of so many ``lanes``.

    Raises
    ------
    KernelError
        If a kernel would touch what it was not given; names layer, kernel, field and bytes.
    """
    check_arrays(program)
    written: set[int] = set()
    for instruction in program.instructions:
        if instruction.times < 1:
            raise error(instruction, f"it has {instruction.times} rows for each row of the batch")
        if instruction.function is not None:
            written |= {value.index for value in instruction.fields.values() if isinstance(value, Buffer)}
        else:
            Check(program, instruction, lanes).run(written)


def error(instruction: Instruction, what: str) -> KernelError:
    """An error about an instruction."""
    return KernelError(f"layer {instruction.layer!r}: kernel {instruction.kernel!r}: {what}; {OURS}")


def check_arrays(program: Program) -> None:
    """The caller's arrays have one size each, that of the outputs being the one that is allocated."""
    sizes: dict[tuple[str, int], int] = {}
    for info in program.buffers:
        if info.row_bytes < 0 or info.fixed_bytes < 0 or (info.kind != "scratch" and info.fixed_bytes):
            raise KernelError(f"a Program with {info}; {OURS}")
        if info.kind != "scratch" and sizes.setdefault((info.kind, info.number), info.row_bytes) != info.row_bytes:
            raise KernelError(f"a Program with two sizes of {info.kind} {info.number}; {OURS}")
    for number, shape in enumerate(program.output_shapes):
        expected, found = 4 * math.prod(shape), sizes.get(("output", number), 0)
        if found != expected:
            raise KernelError(f"output {number} has {found} bytes a row, expected {expected}; {OURS}")


class Check:
    """One instruction against its kernel's contract."""

    def __init__(self, program: Program, instruction: Instruction, lanes: int):
        self.program, self.instruction, self.lanes = program, instruction, lanes
        contract = CONTRACTS.get(instruction.kernel)
        if contract is None:
            raise self.error("there is no such kernel")
        self.contract: Contract = contract

    def error(self, what: str) -> KernelError:
        """An error about the instruction."""
        return error(self.instruction, what)

    def run(self, written: set[int]) -> None:
        """Check every field; ``written`` are the buffers that earlier instructions wrote, and gets those of this one."""
        contract, fields = self.contract, self.instruction.fields
        unknown = set(fields) - (set(contract.fields) - contract.given)
        if unknown:
            raise self.error(f"it has no field {sorted(unknown)} to give")
        addresses = contract.reads | contract.writes
        numbers = {name: self.number(name, fields.get(name, 0)) for name in contract.fields if name not in addresses}
        members = self.instruction.members
        if members > 1 and ("members" not in contract.given or members < self.program.members):
            raise self.error(f"it has room for {members} threads, where {self.program.members} compute it")
        f = SimpleNamespace(**{**numbers, **{name: fields.get(name) is not None for name in addresses}, "members": members})
        for reader, needed in contract.needs:
            if fields.get(reader) is not None and fields.get(needed) is None:
                raise self.error(f"{needed} is missing, by which {reader} is read")
        touched = contract.extents(f, self.lanes)
        mine: set[int] = set()
        for name in addresses:
            given = fields.get(name)
            if given is None:
                if name in touched and name not in contract.optional:
                    raise self.error(f"{name} is missing")
                continue
            at = given if isinstance(given, At) else At(given, 0)
            if not isinstance(at.target, (Buffer, Constant)):
                raise self.error(f"{name} is {given!r}, expected an address")
            if name in touched:
                self.address(name, at, touched[name])
            if isinstance(at.target, Buffer):
                if name in contract.writes:
                    mine.add(at.target.index)
                elif self.program.buffers[at.target.index].kind in ("scratch", "output") and at.target.index not in written:
                    raise self.error(f"{name} is read before anything is written there")
        if fields.get("ids") is not None and "vocabulary" in contract.fields:
            self.ids(fields["ids"], f.vocabulary)
        written |= mine

    def number(self, name: str, value: Any) -> int | float:
        """A field that is no address."""
        if name in self.contract.floats and isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not -WORD <= value < WORD:
            raise self.error(f"{name} is {value!r}, expected an integer of 64 bits")
        if value < 0 and name not in self.contract.signed:
            raise self.error(f"{name} is {value}, expected none below 0")
        if name == "form" and value not in layout.FORMS:
            raise self.error(f"form is {value}, which no weights have")
        if value < 1 and name in self.contract.counts:
            raise self.error(f"{name} is {value}, expected 1 or more")
        return int(value)

    def address(self, name: str, at: At, touched: Span | Room) -> None:
        """Check that the extent at an address lies inside its array."""
        if isinstance(at.target, Constant):
            self.constant(name, at, touched)
            return
        info = self.program.buffers[at.target.index]
        if name in self.contract.writes and info.kind == "input":
            raise self.error(f"{name} would be written into an input")
        if isinstance(touched, Room):
            self.room(name, at, touched, info)
            return
        # Row by row: what one row touches is its own, and rows are as far apart as they are.
        times, size = self.instruction.times, touched.size
        row, rest = divmod(info.row_bytes, times)
        if rest or touched.row * size != row:
            raise self.error(f"{name} has rows of {row} bytes, expected {touched.row * size}")
        first, last = 4 * at.offset + touched.first * size, 4 * at.offset + touched.last * size
        if first < 0 or last > row:
            raise self.error(f"{name} would be touched from byte {first} to {last} of each row, which has {row}")

    def room(self, name: str, at: At, touched: Room, info: BufferInfo) -> None:
        """Scratch that a kernel divides up itself."""
        needed = (self.instruction.times * touched.row_bytes, touched.fixed_bytes)
        found = (info.row_bytes, info.fixed_bytes)
        if info.kind != "scratch" or at.offset or found[0] < needed[0] or found[1] < needed[1]:
            raise self.error(f"{name} has {found[0]} bytes for each row and {found[1]} besides, expected {needed[0]} and {needed[1]}")

    def constant(self, name: str, at: At, touched: Span | Room) -> None:
        """Packed weights or a table."""
        if name in self.contract.writes or isinstance(touched, Room) or touched.row:
            raise self.error(f"{name} is a constant, which has no rows and is never written")
        array = self.program.constants[at.target.index]
        expected = np.dtype(np.uint16 if touched.size == layout.HALF else np.float32)
        if not array.flags.c_contiguous or array.dtype != expected:
            raise self.error(f"{name} is a constant of dtype {array.dtype}, expected {expected}, contiguous")
        first, last = (4 * at.offset + touched.size * place for place in (touched.first, touched.last))
        if first < 0 or last > array.nbytes:
            raise self.error(f"{name} would be read from byte {first} to {last} of a constant, which has {array.nbytes}")

    def ids(self, given: Any, vocabulary: int) -> None:
        """Ids that choose rows of a table were checked against no more than it has."""
        info = self.program.buffers[given.index] if isinstance(given, Buffer) else None
        if info is None or info.kind != "input" or not 0 < info.vocabulary <= vocabulary:
            checked = info.vocabulary if info else 0
            raise self.error(f"ids are checked to be below {checked}, the table has {vocabulary} rows")
