"""The base of what operations mean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..program.copying import Array
from ..program.ir import Builder, Constant, Value
from .operands import MisfitError, Operand, Unbatched, as_operand

#: Arguments by canonical name. Tensors stand among them, also in lists: to ``shapes`` as operands, to ``compute`` as arrays, to
#: ``lower`` as Values where they have rows, else as operands.
Arguments = Mapping[str, Any]


class Writing(NamedTuple):
    """What an operation writes its kernel calls with."""

    builder: Builder
    layer: Any  # the operation's, which its constants belong to
    outputs: tuple[Operand, ...]  # their shapes, batch first

    def shape(self, number: int = 0) -> tuple[int, ...]:
        """The shape of an output, less the batch."""
        return tuple(self.outputs[number][1:])

    def constant(self, what: str, make: Callable[[], np.ndarray]) -> Constant:
        """A float32 array, made once."""
        return self.builder.constant(self.layer, what, make)

    def operand(self, name: str, value: Any) -> Any:
        """An argument as kernels take it: a Value, a number, or a constant with its shape; None where it has sizes that are not known."""
        if isinstance(value, Value) or not isinstance(value, Unbatched):
            return value if isinstance(value, Value) else float(value)
        array = value.value
        if array is None:
            return None
        if array.size == 1 and array.ndim < 2:
            return float(array.ravel()[0])
        flat = np.asarray(array, np.float32)
        if flat.ndim == len(self.outputs[0]):  # for a batch of one row, and so for all
            flat = flat[0]
        flat = np.ascontiguousarray(flat)
        digest = hashlib.sha256(flat.tobytes()).hexdigest()[:16]  # positions, say, are others for other numbers of timesteps
        return Array(self.constant(f"{name}:{digest}", flat.ravel), flat.shape)


def only(value: Value | None) -> tuple[Value, ...] | None:
    """The one output of an operation, where there is a kernel for it."""
    return None if value is None else (value,)


class Meaning:
    """What an operation means.

    All numbers are floats of the dtype that a model computes in, whatever the file says of integers and booleans: these are
    whole numbers, and 1 and 0. So a result does not depend on whether it went through a kernel.
    """

    #: Arguments that may be tensors, or lists of tensors; others never are.
    tensors: tuple[str, ...] = ("x",)
    #: Does its output have the mask of its input? No other operation's has one, in any Keras.
    passes_mask: bool = False

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        """The shapes of its outputs for those of its tensors.

        Raises
        ------
        MisfitError
            If they do not fit.
        AcrossError
            If it would go across the rows of a batch.
        """
        raise NotImplementedError

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        """The same where it goes across the rows of a batch; None where a trial is to tell them."""
        return None

    def compute(self, a: Arguments) -> Any:
        """Its outputs in NumPy: an array or a tuple of them. Tensors that have rows, and the others, are arrays alike."""
        raise NotImplementedError

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        """Kernel calls; None where it is computed in NumPy."""
        return None

    def stepwise_beside(self, a: Arguments, steps: Arguments) -> bool:
        """The same where some tensors stay as they are from step to step: those at whose places ``steps`` does not say True."""
        return False

    def stepwise(self, a: Arguments) -> bool:
        """Does each timestep of the output (axis 1) depend on that timestep of its inputs alone? ``a`` as for ``shapes``."""
        return False


def tensor_list(value: Any, what: str) -> list[Any]:
    """A list of tensors among the arguments, as operands."""
    found = [as_operand(one) for one in value] if isinstance(value, list) else []
    if not found or not all(isinstance(one, tuple) for one in found):
        raise MisfitError(f"{what}: expected tensors, found {value!r:.60}")
    return found
