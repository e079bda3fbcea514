"""What every cell of a recurrent layer shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..spec import Shape
from .base import Layer, States, Tensor


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

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        raise self.error("a cell stands outside of an RNN layer")

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        raise self.error("a cell stands outside of an RNN layer")
