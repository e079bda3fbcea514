"""Kernel calls that write a tensor, or a part of it, in another arrangement: transposed, sliced, repeated, padded, side by side.

Axes are counted less the batch. All of it is one kernel, ``rearrange``, which sees an array with other counts and steps than it was
made with. It has ``MOST_AXES`` axes: a function here gives None where more are left once neighbours are joined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .contract import MOST_AXES
from .ir import At, Buffer, Builder, Constant, Value


class Array(NamedTuple):
    """A constant as an operand: the same float32 numbers for every row."""

    constant: Constant
    shape: tuple[int, ...]


class Place(NamedTuple):
    """Where numbers are in each row of an array: how far apart those of each axis are, from which one on."""

    target: Buffer | Constant
    row: int  # numbers from row to row; 0: all rows are the same
    steps: tuple[int, ...]
    offset: int = 0

    @property
    def address(self) -> At:
        return At(self.target, self.offset)


def steps_of(shape: Sequence[int]) -> tuple[int, ...]:
    """How far apart the numbers of each axis are in a C-contiguous array."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def place_of(b: Builder, x: Value | Array) -> Place:
    """Where an operand is."""
    if isinstance(x, Array):
        return Place(x.constant, 0, steps_of(x.shape))
    return Place(b.read(x), math.prod(x.shape), steps_of(x.shape))


def joined(shape: Sequence[int], *steps: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """The shape, and the steps of each array, with as few axes as do: those of one element are left out, and neighbours
    that every array goes through in one go are one axis."""
    counts: list[int] = []
    kept: list[list[int]] = []  # of each axis, the steps of each array
    for count, each in zip(shape, zip(*steps, strict=True), strict=True):
        if count == 1:
            continue
        if kept and all(outer == inner * count for outer, inner in zip(kept[-1], each, strict=True)):
            counts[-1] *= count
            kept[-1] = list(each)
        else:
            counts.append(count)
            kept.append(list(each))
    return counts, [[axis[n] for axis in kept] for n in range(len(steps))]


def filled_up(values: Sequence[int], count: int, value: int) -> list[int]:
    """So many values, others before those that are there."""
    return [value] * (count - len(values)) + list(values)


def write(b: Builder, shape: Sequence[int], x: Place | None, y: Place, value: float = 0.0) -> bool:
    """Write a part of y: what is at x, or a number where that is None. False where more axes are left than the kernel has."""
    if 0 in shape:
        return True
    counts, (x_steps, y_steps) = joined(shape, x.steps if x else [0] * len(shape), y.steps)
    if len(counts) > MOST_AXES:
        return False
    numbers = enumerate(
        zip(
            filled_up(counts, MOST_AXES, 1),
            filled_up(x_steps, MOST_AXES, 0),
            filled_up(y_steps, MOST_AXES, 0),
            strict=True,
        )
    )
    axes = {f"{name}{n}": number for n, each in numbers for name, number in zip("nxy", each, strict=True)}
    b.emit("rearrange", x=x and x.address, x_row=x.row if x else 0, y=y.address, y_row=y.row, value=value, **axes)
    return True


def strided(b: Builder, x: Value | Array, shape: Sequence[int], steps: Sequence[int], offset: int = 0) -> Value | None:
    """A copy of x as it is seen from a number of each row on, with a shape, and so many numbers from element to element of each axis."""
    if 0 in shape:
        return None
    source = place_of(b, x)._replace(steps=tuple(steps), offset=offset)
    out = Value(b.buffer(math.prod(shape)), tuple(shape))
    return out if write(b, shape, source, place_of(b, out)) else None


def transposed(b: Builder, x: Value | Array, axes: Sequence[int]) -> Value | None:
    """x with its axes in another order."""
    steps = steps_of(x.shape)
    return strided(b, x, [x.shape[axis] for axis in axes], [steps[axis] for axis in axes])


def sliced(b: Builder, x: Value | Array, parts: Sequence[tuple[int, int, int]]) -> Value | None:
    """Part of x: of each axis the first index, how many there are, and the step, which may be negative."""
    steps = steps_of(x.shape)
    offset = sum(first * step for (first, _, _), step in zip(parts, steps, strict=True))
    strides = [by * step for (_, _, by), step in zip(parts, steps, strict=True)]
    return strided(b, x, [count for _, count, _ in parts], strides, offset)


def flipped(b: Builder, x: Value | Array, axes: Sequence[int]) -> Value | None:
    """x backwards along some axes."""
    return sliced(b, x, [(size - 1, size, -1) if axis in axes else (0, size, 1) for axis, size in enumerate(x.shape)])


def broadcast_steps(given: Sequence[int], shape: Sequence[int]) -> list[int]:
    """The steps of a contiguous array of a shape that is broadcast to another, by NumPy's rules."""
    steps = [0 if size == 1 else step for size, step in zip(given, steps_of(given), strict=True)]
    return filled_up(steps, len(shape), 0)


def broadcast(b: Builder, x: Value | Array, shape: Sequence[int]) -> Value | None:
    """x in a larger shape, by NumPy's rules."""
    return strided(b, x, shape, broadcast_steps(x.shape, shape))


def repeated(b: Builder, x: Value | Array, times: int, axis: int) -> Value | None:
    """Each element along an axis so many times."""
    steps = steps_of(x.shape)
    shape = (*x.shape[: axis + 1], times, *x.shape[axis + 1 :])
    out = strided(b, x, shape, (*steps[: axis + 1], 0, *steps[axis + 1 :]))
    return out and reshaped(b, out, (*x.shape[:axis], x.shape[axis] * times, *x.shape[axis + 1 :]))


def enlarged(b: Builder, x: Value | Array, times: Sequence[int], first: int) -> Value | None:
    """Each element so many times along each of the axes from ``first`` on: two of them at once, which the kernel has axes for."""
    if len(times) > 2:
        inner = enlarged(b, x, times[1:], first + 1)
        return inner and enlarged(b, inner, times[:1], first)
    shape, strides = list(x.shape[:first]), list(steps_of(x.shape)[:first])
    for n, count in enumerate(times, start=first):
        shape += [x.shape[n], count]
        strides += [steps_of(x.shape)[n], 0]
    rest = first + len(times)
    out = strided(b, x, [*shape, *x.shape[rest:]], [*strides, *steps_of(x.shape)[rest:]])
    sizes = [size * count for size, count in zip(x.shape[first:rest], times, strict=True)]
    return out and reshaped(b, out, (*x.shape[:first], *sizes, *x.shape[rest:]))


def tiled(b: Builder, x: Value | Array, times: Sequence[int]) -> Value | None:
    """x so many times along each axis."""
    shape = [n for pair in zip(times, x.shape, strict=True) for n in pair]
    out = strided(b, x, shape, [n for step in steps_of(x.shape) for n in (0, step)])
    return out and reshaped(b, out, [n * size for n, size in zip(times, x.shape, strict=True)])


def reshaped(b: Builder, x: Value, shape: Sequence[int]) -> Value:
    """The same numbers in another shape."""
    return Value(b.read(x), tuple(shape), integer=x.integer and x.lookup is None)


def padded(b: Builder, x: Value | Array, around: Sequence[tuple[int, int]], value: float = 0.0) -> Value | None:
    """x with so many elements of a number before and after it along each axis."""
    shape = tuple(before + size + after for (before, after), size in zip(around, x.shape, strict=True))
    out = Value(b.buffer(math.prod(shape)), shape)
    whole = place_of(b, out)
    write(b, shape, None, whole, value)
    first = sum(before * step for (before, _), step in zip(around, whole.steps, strict=True))
    return out if write(b, x.shape, place_of(b, x), whole._replace(offset=first)) else None


def concatenated(b: Builder, values: Sequence[Value | Array], axis: int) -> Value:
    """Values one after another along an axis."""
    shape = list(values[0].shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    out = Value(b.buffer(math.prod(shape)), tuple(shape))
    whole = place_of(b, out)
    first = 0
    for value in values:
        if value.shape[axis]:  # each side is an axis or two by itself, whatever the shape
            write(b, value.shape, place_of(b, value), whole._replace(offset=first * whole.steps[axis]))
        first += value.shape[axis]
    return out


def stacked(b: Builder, values: Sequence[Value | Array], axis: int) -> Value:
    """Values one after another along a new axis."""
    shape = (*values[0].shape[:axis], 1, *values[0].shape[axis:])
    return concatenated(b, [value._replace(shape=shape) for value in values], axis)
