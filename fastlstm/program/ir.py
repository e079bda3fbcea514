"""The flat list of kernel calls that the runtime executes, and what layers say to have one written.

Sizes are concrete: a Program serves one set of input shapes (less the batch), and Model keeps one for each it has met.
The batch is processed in blocks of rows; every buffer holds one block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np

from ..records import record
from ..spec import UNLIMITED

T = TypeVar("T")


class Constant(NamedTuple):
    """Packed weights or a lookup table; number into Program.constants."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody misses


class Buffer(NamedTuple):
    """A block of rows: scratch, or a part of the caller's arrays; number into Program.buffers."""

    index: int  # type: ignore[assignment]


class At(NamedTuple):
    """An address inside a buffer or a constant: ``offset`` elements of 4 bytes after its start, in every row."""

    target: Buffer | Constant
    offset: int


@record(frozen=True)
class BufferInfo:
    """Where a buffer lives and how large it is."""

    kind: Literal["scratch", "input", "output", "state"]
    row_bytes: int  # bytes for each row of the batch
    fixed_bytes: int = 0  # scratch only: bytes besides, whatever the number of rows
    number: int = 0  # which input, output or state
    vocabulary: int = 0  # inputs that hold ids: the caller's are checked to be below


@record(frozen=True)
class Instruction:
    """One call of a kernel (``kernels/``), or of a layer's ``apply`` (kernel "numpy")."""

    kernel: str
    # By the name of the kernel's struct fields: integers and floats as they are, Buffer, Constant and At as addresses
    # (None: null). The field "rows" is the runtime's to fill.
    fields: Mapping[str, Any] = field(default_factory=dict)
    # kernel "numpy": called as function(rows, {buffer index: array}) with the GIL held; arrays are views of the block.
    function: Callable[[int, Mapping[int, np.ndarray]], None] | None = None
    layer: str = ""  # path of the layer it came from, for people
    joined: tuple[str, ...] = ()  # paths of the layers after it whose calls became a part of this one
    times: int = 1  # it has this many rows for each row of the batch
    members: int = 1  # so many threads may compute it together
    beside: bool = (
        False  # another thread may compute it while one computes the instruction before it: neither touches what the other writes
    )


@record(frozen=True)
class Program:
    """Everything that the runtime needs to turn input arrays into output arrays."""

    instructions: tuple[Instruction, ...]
    buffers: tuple[BufferInfo, ...]
    constants: tuple[np.ndarray, ...]  # 64-byte aligned, contiguous
    output_shapes: tuple[tuple[int, ...], ...]  # less the batch
    block_rows: int  # how many rows at a time keep the scratch in cache
    members: int = 1  # so many threads may run it together
    together_rows: int = UNLIMITED  # they do up to so many rows, of more each computes its share of the rows
    work: int = UNLIMITED  # multiply-adds and bytes written for each row, roughly
    divided_work: int = UNLIMITED  # of these, the multiply-adds that threads which run it together share
    names: tuple[str, ...] = ()  # what the constants are: "layer:what"
    # Tensors that the model's file holds: the caller gives them as further inputs, repeated for this many rows for each row of the batch.
    fixed: tuple[tuple[np.ndarray, int], ...] = ()


def touched_by(instruction: Instruction) -> set[int]:
    """The buffers among an instruction's fields."""
    targets = (value.target if isinstance(value, At) else value for value in instruction.fields.values())
    return {target.index for target in targets if isinstance(target, Buffer)}


class Lookup(NamedTuple):
    """The rows of a table that integer ids choose: an Embedding that has not been carried out (so that it may be folded)."""

    ids: Buffer  # int32 (timesteps,) a row
    layer: Any  # the Embedding
    table: np.ndarray  # float32 (vocabulary, features)


class Mask(NamedTuple):
    """Which steps of a tensor are there."""

    buffer: Buffer  # uint8, 1 = valid
    shape: tuple[int, ...]  # (timesteps,) a row


class Value(NamedTuple):
    """A tensor while a Program is being written."""

    buffer: Buffer  # float32 (int32 for ids), C-contiguous a row; of no meaning while ``lookup`` is set
    shape: tuple[int, ...]  # less the batch
    mask: Mask | None = None
    lookup: Lookup | None = None
    integer: bool = False
    pairs: bool = False  # complex numbers: of each, the real and the imaginary part
    known: Any = None  # a tensor without rows, of the operations of a graph: then nothing else says anything


class Builder(Protocol):
    """The interface with which ``Layer.lower`` writes its instructions; implemented by ``planner.ProgramBuilder``."""

    @property
    def lanes(self) -> int:
        """Floats in a vector of the CPU level in use: 16, 8 or 4."""

    threads: int  # the most that one call may use
    streaming: bool  # one step after another: what came before is in the states
    max_steps: int  # ... and so many steps at most in those that are of every step so far; 0 where there are none
    present: Mask | None  # ragged input: which of its steps are there, the others are padding

    def constant(self, layer: Any, what: str, make: Callable[[], np.ndarray], *, of: Any = None) -> Constant:
        """A constant of a layer's, made once a Model, whatever the number of Programs; ``of``: from another layer's weights besides."""

    def form(self, layer: Any, what: str, arrays: Callable[[], Sequence[np.ndarray]]) -> int:
        """The form (``layout.FORMS``) in which some weights of a layer's, float32, are packed."""

    def folds(self, layer: Any, embedding: Any, nbytes: int) -> bool:
        """Is an Embedding to be folded into a layer that reads it, as a table of so many bytes?"""

    def fixed(self, array: np.ndarray) -> Value:
        """A tensor that stands in the model's file, batch first."""

    def buffer(self, elements: int, *, itemsize: int = 4, fixed_bytes: int = 0) -> Buffer:
        """New scratch of ``elements`` for each row."""

    def emit(self, kernel: str, /, *, members: int = 1, **fields: Any) -> None:
        """Append a kernel call, which so many threads may compute together."""

    def read(self, value: Value) -> Buffer:
        """The buffer of a value, carrying out a pending lookup first."""

    def state(self, path: str, number: int, units: int) -> Buffer | None:
        """The caller's state array of a layer (read and written in place), or None where it starts from zeros."""

    def repeated(self, times: int) -> AbstractContextManager[None]:
        """While it lasts, what is written has ``times`` rows for each row of the batch."""

    def at_once(self, one: Callable[[], T], other: Callable[[], T]) -> tuple[T, T]:
        """What two functions write that touch nothing of each other: where each is a single kernel call, two threads may compute them."""

    def lower(self, layer: Any, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
        """A layer inside this one as kernel calls, or as a call of its ``apply`` where it has none."""

    def call_numpy(self, layer: Any, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
        """Append a call of a layer's ``apply``; returns its outputs."""
