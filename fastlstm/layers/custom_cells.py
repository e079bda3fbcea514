"""Cells of the caller's: one timestep of a recurrent layer as a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..spec import LayerSpec
from .base import Context
from .cell_base import Cell
from .placed import ROWS, Placed
from .supplied import Supplied


class CustomCell(Cell):
    """A cell that the caller supplied: ``f(x, states[, config][, weights]) -> y, states``.

    It gets the input of one timestep, (batch, features), and a list of its states, (batch, units) each, and returns its output, (batch,
    units), and its new states. Masks are the affair of the layer around it, as with any cell. The sizes of its states are those that it
    says, or those with which it takes a timestep of zeros.
    """

    def __init__(self, spec: LayerSpec, context: Context, supplied: Supplied):
        super().__init__(replace(spec, config={}), context)
        self.spec, self.config = spec, spec.config
        self._placed = Placed(spec, self.source, self.path, supplied)

    def count_params(self) -> int:
        return sum(array.size for array in self._placed.weights)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return self._sizes()[:-1]

    @property
    def output_size(self) -> int:
        return self._sizes()[-1]

    def _sizes(self, features: int | None = None) -> tuple[int, ...]:
        """Units of each state, and those of the output at the end."""
        return self._placed.supplied.sizes(self.path, lambda: self._found(features))

    def _found(self, features: int | None) -> tuple[int, ...]:
        if features is None:
            raise self._placed.error("is asked for its states before the features of its input are known; say them by state_size")

        def attempt(sizes: tuple[int, ...]) -> int:
            output, _ = self._called(np.zeros((ROWS, features), np.float32), [np.zeros((ROWS, size), np.float32) for size in sizes])
            return output.shape[1]

        sizes, units = self._placed.tried_sizes(features, self.context.budget, attempt)
        return (*sizes, units)

    def check(self, features: int) -> None:
        self._sizes(features)

    def step(self, x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        output, new = self._called(x, states)
        if output.shape[1] != self.output_size:
            raise self._placed.error(f"returned an output of shape {output.shape}; expected (batch, {self.output_size})")

        def alone(row: slice) -> Sequence[np.ndarray]:
            y, after = self._called(x[row], [state[row] for state in states])
            return (y, *after)

        self._placed.supplied.check_rows(self._placed.place, [x, *states], (output, *new), alone)
        return output, new

    def _called(self, x: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Output and new states of one call, each of the shape that it should have."""
        found: Any = self._placed.returned((x, list(states)))
        y, new = self._placed.pair(found, x.dtype, states)
        outputs = self._placed.arrays(y, x.dtype, len(x), (x, *states))
        if len(outputs) != 1 or outputs[0].ndim != 2:
            told = " and ".join(str(output.shape) for output in outputs) or "nothing"
            raise self._placed.error(f"returned an output of shape {told}; expected (batch, units)")
        return outputs[0], new
