"""Runs models whose scratch buffers each end, or begin, at a page that nobody may touch, and whose constants end at one.

As guarded_arrays.py, with preloaded.c preloaded. Blocks have just the rows that are run, so that a buffer's end is the end of what is used.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import golden
import guarded_arrays
import numpy as np

from fastlstm import FastLSTMError, Model, runtime
from fastlstm.program import arena
from fastlstm.program.ir import BufferInfo, Instruction, Program
from fastlstm.runtime import encoding

PAGE = guarded_arrays.PAGE
#: What malloc is asked for besides an arena's size.
BESIDES = 64


class Layout:
    """Stands in for ``arena.arrange``: every buffer on pages of its own, with others that nobody may touch around it."""

    def __init__(self) -> None:
        self.preloaded = ctypes.CDLL(None)
        self.preloaded.guard_size.argtypes = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
        self.side, self.rows, self.missing = "", 1, 0
        self.kept: dict[int, np.ndarray] = {}  # by what malloc is asked for: numbers of pages

    def __call__(self, instructions: Sequence[Instruction], buffers: Sequence[BufferInfo], rows: int) -> tuple[list[int], int]:
        offsets, pages, at = [], [0], 1
        for info in buffers:
            needed = max(0, info.row_bytes * rows + info.fixed_bytes - self.missing) if info.kind == "scratch" else 0
            whole = -(-needed // PAGE)
            offsets.append(at * PAGE + (whole * PAGE - needed if self.side == "end" else 0))
            at += whole + 1
            pages.append(at - 1)
        # The size is what the library knows the Program by; other arenas have sizes that 64 divides.
        size = next(n for n in itertools.count(at * PAGE + 4, 64) if n + BESIDES not in self.kept)
        self.kept[size + BESIDES] = numbers = np.array(pages, np.int32)
        if self.preloaded.guard_size(size + BESIDES, numbers.ctypes.data, len(numbers)):
            raise MemoryError(f"no guards for {size} bytes")
        return offsets, size


LAYOUT = Layout()
RUNNER = runtime.Runner


def guarded_runner(program: Program, *shared: Any, **options: Any) -> runtime.Runner:
    """A Runner with an arena of its own that is guarded, and blocks of a number of rows."""
    constants = tuple(guarded_arrays.guarded(array, "end") for array in program.constants)
    return RUNNER(replace(program, block_rows=LAYOUT.rows, constants=constants))


def near(found: Any, expected: Sequence[np.ndarray]) -> bool:
    """Are they equal, up to what NumPy's functions make of arrays that lie elsewhere?"""
    with np.errstate(all="ignore"):
        pairs = zip(golden.flat(found), expected, strict=True)
        return all(np.allclose(y, other, rtol=1e-4, atol=1e-6, equal_nan=True) for y, other in pairs)


def check(model: Model, inputs: Sequence[np.ndarray]) -> None:
    """Predict and stream in blocks of one row and of six; results are near those of a model without guards."""
    runtime.Runner, encoding.arrange = RUNNER, arena.arrange
    model.reset_states()
    expected = golden.flat(model.predict(list(inputs)))
    runtime.Runner, encoding.arrange = guarded_runner, LAYOUT
    for LAYOUT.rows, LAYOUT.side in itertools.product((1, 6), guarded_arrays.SIDES):
        watched = copy.copy(model)
        watched.reset_states()
        assert near(watched.predict(list(inputs)), expected)
        with contextlib.suppress(FastLSTMError):  # it needs what is still to come, say
            watched.stream(len(inputs[0])).step(guarded_arrays.steps(inputs))


def main() -> None:
    parser = guarded_arrays.arguments(__doc__)
    parser.add_argument("--missing", type=int, default=0, help="bytes by which buffers are too short: something must happen")
    given = parser.parse_args()
    LAYOUT.missing = given.missing
    print(f"{guarded_arrays.check_all(given, check)}, {len(LAYOUT.kept)} Programs")


if __name__ == "__main__":
    main()
