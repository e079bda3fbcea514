"""What every cell of a recurrent layer shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..program.ir import Builder, Value
from ..spec import Shape
from .base import Layer, States, Tensor, floating

#: How a cell's kernel computes one step that is there, of which nobody asks for a sequence.
ONE_STEP: Mapping[str, Any] = {
    "mask": None, "mask_row": 1, "reverse": 0, "y": None, "y_row": 0, "y_step": 0, "y_time_order": 0, "fill": 0, "head": 0,
}  # fmt: skip


class Cell(Layer):
    """One step of a recurrent layer.

    A cell of the caller's knows its sizes only once it was checked against the features of its input, so they are asked for, not kept.
    """

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Units of each state, in the order in which Keras returns them."""
        return ()

    @property
    def output_size(self) -> int:
        """Units of the output."""
        return 0

    @property
    def cells(self) -> Sequence[Cell]:
        """The cells that one step runs, from the input upwards."""
        return (self,)

    def state_numbers(self) -> list[range]:
        """For each of the cells, which of the states are its own."""
        return [range(len(self.state_sizes))]

    @property
    def output_state(self) -> int:
        """Which state is the output."""
        return 0

    def has_kernel(self) -> bool:
        """Do kernels compute it?"""
        return False

    def check(self, features: int) -> None:
        """Check the weights against the input's features."""
        raise NotImplementedError

    def step(self, x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Output and new states, from the input (batch, features) and states (batch, units) of one dtype."""
        raise NotImplementedError

    def emit(self, b: Builder, x: Value, before: Sequence[Any], after: Sequence[Any], how: Mapping[str, Any]) -> None:
        """Write its kernel, which :meth:`has_kernel` says that it has."""
        raise NotImplementedError

    # -- called as a layer of its own, on an input and the states before it -----------------------------------------------

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if not inputs or len(inputs[0]) != 2:
            raise self.error(f"a cell reads (batch, features), found {', '.join(map(str, inputs[:1])) or 'nothing'}")
        (batch, features), *states = inputs
        if features is None:
            raise self.error("the number of features of its input is not known")
        self.check(features)
        sizes = [shape[1] if len(shape) == 2 else shape for shape in states]
        if sizes != list(self.state_sizes):
            raise self.error(f"it is given states of {sizes} units, expected {list(self.state_sizes)}")
        return ((batch, self.output_size), *((batch, size) for size in self.state_sizes))

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x, *before = (floating(tensor.value) for tensor in inputs)
        y, after = self.step(x, tuple(state.astype(x.dtype, copy=False) for state in before))
        return (Tensor(y), *map(Tensor, after))

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        if any(value.integer for value in inputs) or not all(cell.has_kernel() for cell in self.cells):
            return None
        x, *before = inputs
        given = [b.read(state) for state in before]
        after = [b.buffer(size) for size in self.state_sizes]
        x = x._replace(shape=(1, *x.shape))  # a sequence of one step
        for cell, mine in zip(self.cells, self.state_numbers(), strict=True):
            out = b.buffer(cell.output_size)
            cell.emit(b, x, [given[n] for n in mine], [after[n] for n in mine], {**ONE_STEP, "last": out, "last_row": cell.output_size})
            x = Value(out, (1, cell.output_size))
        return (x._replace(shape=x.shape[1:]), *(Value(state, (size,)) for state, size in zip(after, self.state_sizes, strict=True)))
