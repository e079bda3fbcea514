"""Layers that are called with tensors without rows, as an Embedding of ``tf.range(timesteps)`` is: computed once, not for each row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..catalogue import Role
from ..limits import Budget
from ..operations.operands import Unbatched
from ..program.ir import Buffer, Value
from .base import Layer, Tensor

#: Bytes of a number of float64.
WIDEST = 8


class Made:
    """What tensors without rows take together, as a file can have many."""

    def __init__(self, budget: Budget):
        self.budget, self.numbers = budget, 0

    def account(self, layer: Layer, shapes: Sequence[Any]) -> None:
        """Account for those that a layer makes."""
        self.numbers += sum(math.prod(size or 0 for size in shape) for shape in shapes if isinstance(shape, Unbatched))
        if self.numbers:
            self.budget.lend(f"layer {layer.path!r}: tensors without rows", WIDEST * self.numbers)


def without_rows(layer: Layer, given: Sequence[Any]) -> bool:
    """Is a layer, other than an operation, called with tensors that have no rows?

    Raises
    ------
    UnsupportedError
        If it is called with others too.
    """
    found = [isinstance(one, Unbatched) for one in given]
    if not any(found) or layer.row.role is Role.OPERATION:
        return False
    if not all(found) or layer.recurrent or layer.state_shapes():
        raise layer.unsupported("it is called with a tensor that has no row for each row of a batch, which is not computed")
    return True


def shapes(layer: Layer, given: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[Unbatched, ...]:
    """Its output shapes."""
    return tuple(map(Unbatched, layer.shapes([tuple(one) for one in given], keywords)))


def outputs(layer: Layer, given: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[Unbatched, ...]:
    """Its outputs: in float64, as they are computed once."""
    arrays = [one.value for one in given]
    if any(array is None for array in arrays):
        raise layer.unsupported("it is called with sizes that are not known, which is not computed")
    found = layer.apply([Tensor(array if array.dtype.kind in "iu" else array.astype(np.float64)) for array in arrays], keywords, None)
    return tuple(Unbatched.of(tensor.value) for tensor in found)


def tensors(layer: Layer, given: Sequence[Tensor], keywords: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Its outputs for ``apply``."""
    return tuple(Tensor(one) for one in outputs(layer, [one.value for one in given], keywords))  # type: ignore[arg-type]  # has no rows


def values(layer: Layer, given: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
    """Its outputs while a Program is written."""
    return tuple(Value(Buffer(-1), (), known=one) for one in outputs(layer, [one.known for one in given], keywords))
