"""Kernel calls on masks: united, side by side, and as numbers beside the tensors that they belong to.

Axes are counted less the batch. Functions give None where the masks do not go together: the layer's ``apply`` says what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

from .arithmetic import binary, mask_of, of_mask, reduced
from .copying import concatenated, place_of, reshaped, write
from .ir import Builder, Mask, Value
from .lowering import merged_masks


def column(b: Builder, mask: Mask) -> Value:
    """A mask as numbers, with an axis of one element at the end."""
    return reshaped(b, of_mask(b, mask), (*mask.shape, 1))


def ones(b: Builder, shape: Sequence[int]) -> Value:
    """Of a shape, ones."""
    out = Value(b.buffer(math.prod(shape)), tuple(shape))
    write(b, shape, None, place_of(b, out), 1.0)
    return out


def united(b: Builder, op: str, masks: Sequence[Mask]) -> Mask | None:
    """Masks combined by "and" or "or", broadcast by NumPy's rules."""
    if len({mask.shape for mask in masks}) == 1:
        return merged_masks(b, op, masks)
    if len({len(mask.shape) for mask in masks}) > 1:
        return None
    if any(len(set(sizes) - {1}) > 1 for sizes in zip(*(mask.shape for mask in masks), strict=True)):
        return None

    def pair(one: Value | None, other: Value | None) -> Value | None:
        return one and other and binary(b, f"logical_{op}", one, other)

    numbers: list[Value | None] = [of_mask(b, mask) for mask in masks]
    whole = reduce(pair, numbers)
    return whole and mask_of(b, whole)


def joined(b: Builder, op: str, values: Sequence[Value], axis: int) -> Mask | None:
    """The mask of values one after another along an axis, as Keras has it.

    Each mask gets an axis more, and a value without one counts as there; then what stands along the last axis is combined by "and" or
    "or". By "and" the masks are not repeated along that axis: beside them a value without one does not fit unless it is that wide.

    Parameters
    ----------
    axis
        Of the masks with their further axis.
    """
    rank = next(len(value.mask.shape) for value in values if value.mask is not None)
    last, columns = axis == rank, []
    for value in values:
        if value.mask is not None:
            columns.append(column(b, value.mask))
        elif op == "and" and not last and value.shape[-1] != 1:
            return None
        else:
            columns.append(ones(b, (*value.shape[:-1], 1)))
    if len({(*one.shape[:axis], *one.shape[axis + 1 :]) for one in columns}) > 1 or {len(one.shape) for one in columns} != {rank + 1}:
        return None
    whole = reduced(b, "all" if op == "and" else "any", concatenated(b, columns, axis), [rank])
    return whole and mask_of(b, whole)


def carried(b: Builder, value: Value, mask: Mask) -> Value:
    """A sequence with what the step before has in place of masked steps; zeros where there is none."""
    steps, width = value.shape[0], math.prod(value.shape[1:])
    out = b.buffer(steps * width)
    b.emit("carry", steps=steps, width=width, x=b.read(value), mask=mask.buffer, y=out)
    return Value(out, value.shape, value.mask)
