"""Kernel calls that normalise and bend: by the numbers of each row, and by numbers of each place that a layer keeps.

Axes are counted less the batch. Functions give None where there is no kernel for what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .arithmetic import new, softmax
from .contracts.curves import CURVES
from .contracts.normalising import NORMS, across_scratch
from .copying import transposed
from .ir import Builder, Constant, Value


class Norm(NamedTuple):
    """How numbers are normalised."""

    op: str  # one of ``contracts.normalising.NORMS``
    epsilon: float
    factor: Constant | None = None  # what they are multiplied by then, and what is added, where they lie as the kernel reads them
    offset: Constant | None = None


#: An array that broadcasts to a row, made when it is packed.
Made = Callable[[], np.ndarray]


class Moved(NamedTuple):
    """A value with some of its axes last, and the order of axes by which it becomes what it was; None where it has not changed."""

    value: Value
    back: list[int] | None

    def restored(self, b: Builder, made: Value) -> Value | None:
        """What has been made of the value, with its axes where they were."""
        return made if self.back is None else transposed(b, made, self.back)


def repeats(axes: Sequence[int]) -> bool:
    """Is an axis among them twice? No Keras computes that."""
    return len(set(axes)) < len(axes)


def at_the_end(b: Builder, x: Value, axes: Sequence[int]) -> Moved | None:
    """x with some of its axes last, in order."""
    order = [*(axis for axis in range(len(x.shape)) if axis not in axes), *sorted(axes)]
    if [axis for axis in order if x.shape[axis] > 1] == [axis for axis in range(len(x.shape)) if x.shape[axis] > 1]:
        return Moved(x, None)
    moved = transposed(b, x, order)
    return moved and Moved(moved, [int(axis) for axis in np.argsort(order)])


def normalised(
    b: Builder, layer: Any, x: Value, axes: Sequence[int], norm: Norm, factor: Made | None = None, offset: Made | None = None
) -> Value | None:
    """x normalised along axes, each place of the others by itself, * factor + offset: arrays of the sizes of those axes."""
    if 0 in x.shape or not axes or repeats(axes):
        return None
    axes = sorted(axes)
    outer, inner = math.prod(x.shape[: axes[0]]), math.prod(x.shape[axes[-1] + 1 :])
    shape = [x.shape[axis] for axis in axes]
    n = math.prod(shape)
    if axes[-1] - axes[0] == len(axes) - 1 and inner > 1:
        out = across(b, x, (outer, n, inner, 1), norm)
        return out if factor is None and offset is None else by_place(b, layer, out, axes, (nothing, factor or once, offset or nothing))
    moved = at_the_end(b, x, axes)
    if moved is None:
        return None
    factors = factor and flat_constant(b, layer, "factor", factor, shape)
    offsets = offset and flat_constant(b, layer, "offset", offset, shape)
    return moved.restored(b, in_stretches(b, moved.value, n, norm._replace(factor=factors, offset=offsets)))


def nothing() -> np.ndarray:
    """What is taken off or added, where nothing is."""
    return np.zeros(())


def once() -> np.ndarray:
    """What is multiplied by, where nothing is."""
    return np.ones(())


def normalised_groups(
    b: Builder, layer: Any, x: Value, axis: int, groups: int, norm: Norm, factor: Made | None, offset: Made | None
) -> Value | None:
    """x normalised along all axes, but each group of neighbours along one by itself, * factor + offset, which are by that axis."""
    channels, before, after = x.shape[axis], math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    if 0 in x.shape:
        return None
    if before == 1 and after > 1:
        out = in_stretches(b, x, channels // groups * after, norm)
        return by_place(b, layer, out, [axis], (nothing, factor or once, offset or nothing))
    moved = at_the_end(b, x, [axis])
    if moved is None:
        return None
    factors = factor and flat_constant(b, layer, "factor", factor, [channels])
    offsets = offset and flat_constant(b, layer, "offset", offset, [channels])
    sizes = (1, before * after, groups, channels // groups)
    return moved.restored(b, across(b, moved.value, sizes, norm._replace(factor=factors, offset=offsets)))


def in_stretches(b: Builder, x: Value, n: int, norm: Norm) -> Value:
    """x normalised in stretches of n numbers, * factor + offset."""
    out = new(b, x.shape)
    b.emit(
        "layer_norm", steps=math.prod(x.shape) // n, features=n, x=b.read(x), factor=norm.factor, offset=norm.offset, y=out.buffer,
        op=NORMS[norm.op], epsilon=norm.epsilon,
    )  # fmt: skip
    return out


def across(b: Builder, x: Value, sizes: tuple[int, int, int, int], norm: Norm) -> Value:
    """x, seen as (outer, n, groups, width), each group normalised along n and width, * factor + offset."""
    outer, n, groups, width = sizes
    out = new(b, x.shape)
    b.emit(
        "norm_across", outer=outer, n=n, groups=groups, width=width, x=b.read(x), factor=norm.factor, offset=norm.offset, y=out.buffer,
        op=NORMS[norm.op], epsilon=norm.epsilon, scratch=b.buffer(0, fixed_bytes=across_scratch(groups * width)),
    )  # fmt: skip
    return out


def flat_constant(b: Builder, layer: Any, what: str, make: Made, shape: Sequence[int]) -> Constant:
    """An array broadcast to a shape, its numbers one after the other."""
    return b.constant(layer, what, lambda: np.broadcast_to(make(), shape).astype(np.float32).reshape(-1))


def by_place(b: Builder, layer: Any, x: Value, axes: Sequence[int], moments: tuple[Made, Made, Made]) -> Value | None:
    """(x - mean) * factor + offset: three arrays of the sizes of those axes of x."""
    if 0 in x.shape or repeats(axes):
        return None
    axes = sorted(axes)
    shape = [x.shape[axis] for axis in axes]
    names = ("mean", "factor", "offset")
    constants: dict[str, Any] = {name: flat_constant(b, layer, name, make, shape) for name, make in zip(names, moments, strict=True)}
    if axes and axes[-1] - axes[0] == len(axes) - 1 and math.prod(x.shape[axes[-1] + 1 :]) > 1:
        out = new(b, x.shape)
        outer, inner = math.prod(x.shape[: axes[0]]), math.prod(x.shape[axes[-1] + 1 :])
        b.emit("normalise_across", outer=outer, n=math.prod(shape), inner=inner, x=b.read(x), y=out.buffer, **constants)
        return out
    moved = at_the_end(b, x, axes)
    if moved is None:
        return None
    out, features = new(b, moved.value.shape), math.prod(shape)
    b.emit("normalise", steps=math.prod(x.shape) // features, features=features, x=b.read(moved.value), y=out.buffer, **constants)
    return moved.restored(b, out)


def curved(b: Builder, layer: Any, x: Value, axes: Sequence[int], curve: str, parameters: Sequence[Made]) -> Value | None:
    """A curve of x with parameters of the sizes of those axes of x; ``curve``: one of ``contracts.curves.CURVES``."""
    moved = None if 0 in x.shape or repeats(axes) else at_the_end(b, x, axes)
    if moved is None:
        return None
    shape = [x.shape[axis] for axis in sorted(axes)]
    constants: dict[str, Any] = {f"p{n}": flat_constant(b, layer, f"parameter {n}", make, shape) for n, make in enumerate(parameters)}
    out, features = new(b, moved.value.shape), math.prod(shape)
    b.emit(
        "place_wise", steps=math.prod(x.shape) // features, features=features, x=b.read(moved.value), y=out.buffer, op=CURVES[curve],
        **constants,
    )  # fmt: skip
    return moved.restored(b, out)


def softmax_over(b: Builder, x: Value, axes: Sequence[int]) -> Value | None:
    """exp(x - max) / sum along one axis or several."""
    if len(axes) == 1:
        return softmax(b, x, axes[0])
    moved = None if 0 in x.shape or repeats(axes) else at_the_end(b, x, axes)
    if moved is None:
        return None
    n = math.prod(x.shape[axis] for axis in axes)
    out = softmax(b, Value(b.read(moved.value), (math.prod(x.shape) // n, n)), 1)
    return out and moved.restored(b, Value(out.buffer, moved.value.shape))
