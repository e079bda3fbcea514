"""Runs kernel calls of operations on tensors, as lowering writes them, without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from guarded_arrays import SIDES, guarded
from kernel_calls import lanes_of

from fastlstm import runtime
from fastlstm.planner import Constants, ProgramBuilder
from fastlstm.program.copying import Array
from fastlstm.program.ir import Program, Value


class Owner:
    """Stands for the layer that constants belong to."""

    path = "layer"


class Calls:
    """A Builder, the arrays that a call is written for, and what comes of it.

    Parameters
    ----------
    level
        CPU level.
    arrays
        Inputs, batch first; masks as uint8.
    """

    def __init__(self, level: str, arrays: Sequence[np.ndarray]):
        self.level, self.arrays = level, [np.ascontiguousarray(array) for array in arrays]
        self.builder = ProgramBuilder(Constants(lanes_of(level)), 0, {})
        self.owner = Owner()
        self.values = [
            self.builder.input(x.shape[1:], vocabulary=1000 if x.dtype == np.int32 else 0, itemsize=x.dtype.itemsize) for x in self.arrays
        ]

    def constant(self, array: np.ndarray) -> Array:
        """An array without batch axis."""
        name = f"constant{len(self.builder.used)}"
        return Array(self.builder.constant(self.owner, name, lambda: array.astype(np.float32)), array.shape)

    def program(self, value: Value) -> Program:
        return self.builder.program((self.builder.output(0, value, set()),))

    def run(self, value: Value | None) -> np.ndarray:
        """What the value is, with every array before or after a page that nobody may touch."""
        assert value is not None, "there is no kernel call for it"
        program = self.program(value)
        rows = len(self.arrays[0])
        expected: np.ndarray | None = None
        for side in SIDES:
            made = guarded(np.full((rows, *value.shape), 7, np.float32), side)
            runtime.Runner(program, self.level).run([guarded(x, side) for x in self.arrays], [made], [])
            if expected is not None:
                np.testing.assert_array_equal(made, expected)
            expected = made.copy()
        assert expected is not None
        return expected


def computed(level: str, write: Callable[..., Value | None], *arrays: np.ndarray, **words: Any) -> np.ndarray:
    """write(builder, *values, **words) for arrays with batch axis."""
    calls = Calls(level, arrays)
    return calls.run(write(calls.builder, *calls.values, **words))
