"""Kernel calls of arithmetic on whole tensors: element by element with broadcasting, reductions, softmax, products.

Axes are counted less the batch. An operand is a Value, an :class:`.copying.Array` (a constant without batch axis) or a number.
Functions give None where there is no kernel for what is asked; the operation stays in NumPy then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import layout
from .contract import MOST_AXES, steps_along
from .contracts.arithmetic import BINARY_OPS, UNARY_OPS
from .contracts.elementwise import MERGE_OPS
from .contracts.product import product_scratch
from .contracts.reductions import REDUCE_OPS
from .copying import Array, Place, broadcast, broadcast_steps, filled_up, joined, place_of, reshaped, transposed
from .ir import Builder, Mask, Value
from .lowering import activated, dense, has_kernel, merged

Operand = Value | Array | float

#: Powers that are products or roots.
POWERS = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal", -0.5: "rsqrt"}


def shape_of(x: Operand) -> tuple[int, ...]:
    """The shape of an operand, less the batch."""
    return x.shape if isinstance(x, (Value, Array)) else ()


def new(b: Builder, shape: Sequence[int]) -> Value:
    """A value yet to be written."""
    return Value(b.buffer(math.prod(shape)), tuple(shape))


# -- element by element -----------------------------------------------------------------------------------------------------------


def binary(b: Builder, op: str, x: Operand, y: Operand) -> Value | None:
    """x op y, broadcast by NumPy's rules.

    ``op``: one of ``contracts.BINARY_OPS``, or "power" with a number that :data:`POWERS` has, or 1 or 3. Comparisons and what is
    logical give 0 or 1. ``floor_divide`` is floor(x / y), as Keras computes it.
    """
    if op == "power":
        return power(b, x, y)
    if op not in BINARY_OPS:
        return None
    shape = np.broadcast_shapes(shape_of(x), shape_of(y))
    if 0 in shape or not (isinstance(x, Value) or isinstance(y, Value)):
        return None
    if op in MERGE_OPS and isinstance(x, Value) and isinstance(y, Value) and x.shape == y.shape:
        return merged(b, op, [x, y])
    places = [None if isinstance(each, (int, float)) else place_of(b, each) for each in (x, y)]
    steps = [broadcast_steps(shape_of(each), shape) for each in (x, y)]
    counts, (x_steps, y_steps) = joined(shape, *steps)
    if len(counts) > MOST_AXES:
        return None
    out = new(b, shape)
    fields: dict[str, Any] = {f"n{axis}": count for axis, count in enumerate(filled_up(counts, MOST_AXES, 1))}
    for name, place, given in (("a", places[0], x_steps), ("b", places[1], y_steps)):
        along = filled_up(given, MOST_AXES, 0)
        fields |= dict(zip(steps_along(name), along, strict=True)) | {f"{name}_row": place.row if place else 0}
        fields[name] = place and place.address
    value = next((float(each) for each in (x, y) if isinstance(each, (int, float))), 0.0)
    b.emit("binary", y=out.buffer, op=BINARY_OPS[op], value=value, **fields)
    return out


def power(b: Builder, x: Operand, exponent: Operand) -> Value | None:
    """x ** exponent where that is a product or a root."""
    if not isinstance(x, Value) or not isinstance(exponent, (int, float)) or 0 in x.shape:
        return None
    if exponent in POWERS:
        return unary(b, POWERS[float(exponent)], x)
    if exponent == 1:
        return x
    squared = unary(b, "square", x) if exponent == 3 else None
    return squared and merged(b, "multiply", [squared, x])


def unary(b: Builder, op: str, x: Value, alpha: float = 0.0, beta: float = 0.0) -> Value | None:
    """op(x): one of ``contracts.UNARY_OPS``, or any activation that kernels have."""
    if 0 in x.shape:
        return None
    if op not in UNARY_OPS:
        return activated(b, op, x) if has_kernel(op) else None
    out = new(b, x.shape)
    b.emit("unary", size=math.prod(x.shape), x=b.read(x), y=out.buffer, op=UNARY_OPS[op], alpha=float(alpha), beta=float(beta))
    return out


def clipped(b: Builder, x: Value, low: Operand, high: Operand) -> Value | None:
    """x between bounds, as min(max(x, low), high)."""
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        return unary(b, "clip", x, low, high)
    raised = binary(b, "maximum", x, low)
    return raised and binary(b, "minimum", raised, high)


def selected(b: Builder, condition: Value | Array, x: Operand, y: Operand) -> Value | None:
    """x where the condition is not 0, else y, broadcast by NumPy's rules."""
    shape = np.broadcast_shapes(*map(shape_of, (condition, x, y)))
    if 0 in shape:
        return None

    def whole(each: Operand) -> Value | None:
        """In the shape of the result, a row for each row."""
        if isinstance(each, (int, float)):
            return None
        return each if isinstance(each, Value) and each.shape == shape else broadcast(b, each, shape)

    full = [whole(each) for each in (condition, x, y)]
    numbers = [float(each) if isinstance(each, (int, float)) else 0.0 for each in (x, y)]
    if any(value is None and not isinstance(each, (int, float)) for value, each in zip(full, (condition, x, y), strict=True)):
        return None
    out = new(b, shape)
    addresses: dict[str, Any] = {name: value and b.read(value) for name, value in zip(("condition", "a", "b"), full, strict=True)}
    b.emit("choose", size=math.prod(shape), y=out.buffer, a_value=numbers[0], b_value=numbers[1], **addresses)
    return out


def mask_of(b: Builder, x: Value) -> Mask:
    """The steps where x is not 0."""
    size = math.prod(x.shape)
    out = b.buffer(size, itemsize=1)
    b.emit("mask_numbers", size=size, x=b.read(x), mask=out)
    return Mask(out, x.shape)


def of_mask(b: Builder, mask: Mask) -> Value:
    """1 where a mask is set, else 0."""
    out = new(b, mask.shape)
    b.emit("unmask", size=math.prod(mask.shape), mask=mask.buffer, y=out.buffer)
    return out


def floats(b: Builder, x: Value) -> Value:
    """A value of integers as one of floats; others as they are."""
    if not x.integer or x.lookup is not None:
        return x
    out = new(b, x.shape)
    b.emit("float_ids", size=math.prod(x.shape), ids=x.buffer, y=out.buffer)
    return out


# -- along axes -------------------------------------------------------------------------------------------------------------------


def side_by_side(b: Builder, x: Value, axes: Sequence[int]) -> tuple[Value, tuple[int, int, int]] | None:
    """x so that some of its axes follow one another, the others where they were: and the sizes before, of, and after those."""
    axes = sorted(axes)
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    between = [axis for axis in rest if axes and axes[0] < axis < axes[-1] and x.shape[axis] > 1]
    before = [axis for axis in rest if axis < axes[0]] if axes else rest
    if between:
        moved = transposed(b, x, [*rest, *axes])
        if moved is None:
            return None
        x, before = moved, rest
        outer, inner = math.prod(x.shape[: len(rest)]), 1
    else:
        outer = math.prod(x.shape[axis] for axis in before)
        inner = math.prod(x.shape[axis] for axis in rest) // max(outer, 1)
    return x, (outer, math.prod(x.shape) // max(outer * inner, 1), inner)


def reduced(b: Builder, op: str, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value | None:
    """x reduced along axes; ``op``: one of ``contracts.REDUCE_OPS``, or "logsumexp"."""
    if 0 in x.shape:
        return None
    if op == "logsumexp":
        return log_sum_exp(b, x, axes, keepdims)
    if op not in REDUCE_OPS:
        return None
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape) if keepdims or axis not in axes)
    found = side_by_side(b, x, axes)
    if found is None:
        return None
    there, (outer, n, inner) = found
    out = new(b, shape)
    b.emit("reduce", outer=outer, n=n, inner=inner, x=b.read(there), y=out.buffer, op=REDUCE_OPS[op])
    return out


def cumulated(b: Builder, x: Value, axis: int) -> Value | None:
    """The sum of x along an axis so far."""
    return along(b, "cumulate", x, axis)


def along(b: Builder, kernel: str, x: Value, axis: int) -> Value | None:
    """A kernel of one axis, whose result has the shape of x."""
    if 0 in x.shape:
        return None
    out = new(b, x.shape)
    outer, n = math.prod(x.shape[:axis]), x.shape[axis]
    b.emit(kernel, outer=outer, n=n, inner=math.prod(x.shape[axis + 1 :]), x=b.read(x), y=out.buffer)
    return out


def softmax(b: Builder, x: Value, axis: int) -> Value | None:
    """exp(x - max) / sum along an axis."""
    if 0 in x.shape:
        return None
    if math.prod(x.shape[axis + 1 :]) > 1:
        return along(b, "softmax_across", x, axis)
    out = new(b, x.shape)
    b.emit("softmax", steps=math.prod(x.shape[:axis]), features=x.shape[axis], x=b.read(x), y=out.buffer)
    return out


def chained(first: Value | None, *calls: Callable[[Value], Value | None]) -> Value | None:
    """Calls one after another, as long as there are kernels for them."""
    for call in calls:
        if first is None:
            return None
        first = call(first)
    return first


def log_sum_exp(b: Builder, x: Value, axes: Sequence[int], keepdims: bool) -> Value | None:
    """log(sum(exp(x))) along axes, without overflow. An infinite maximum is not subtracted."""
    top = chained(reduced(b, "max", x, axes, True))
    finite = top and unary(b, "isfinite", top)
    if top is None or finite is None:
        return None
    shift = selected(b, finite, top, 0.0)
    if shift is None:
        return None
    total = chained(
        binary(b, "subtract", x, shift),
        lambda v: unary(b, "exp", v),
        lambda v: reduced(b, "sum", v, axes, True),
        lambda v: unary(b, "log", v),
        lambda v: binary(b, "add", v, shift),
    )
    return total and reshaped(b, total, tuple(size for axis, size in enumerate(total.shape) if keepdims or axis not in axes))


def log_softmax(b: Builder, x: Value, axis: int) -> Value | None:
    """(x - max) - log(sum(exp(x - max))) along an axis."""
    top = reduced(b, "max", x, [axis], True)
    lowered = top and binary(b, "subtract", x, top)
    if lowered is None:
        return None
    total = chained(unary(b, "exp", lowered), lambda v: reduced(b, "sum", v, [axis], True), lambda v: unary(b, "log", v))
    return total and binary(b, "subtract", lowered, total)


# -- products ---------------------------------------------------------------------------------------------------------------------


def swapped(b: Builder, x: Value | Array) -> Value | None:
    """x with its last two axes swapped."""
    last = len(x.shape) - 1
    if 1 in x.shape[-2:] and isinstance(x, Value):
        return reshaped(b, x, (*x.shape[:-2], x.shape[-1], x.shape[-2]))
    return transposed(b, x, [*range(last - 1), last, last - 1])


def product(b: Builder, x: Value | Array, y: Value | Array, transpose_x: bool = False, transpose_y: bool = False) -> Value | None:
    """x @ y of shapes (..., m, k) and (..., k, n), the axes before broadcast by NumPy's rules.

    Both have two axes at least, less the batch. A constant y of two axes is multiplied as a Dense layer's kernel if it is given to
    :func:`weighted` instead.
    """
    if 0 in (*x.shape, *y.shape):
        return None
    left = swapped(b, x) if transpose_x else x
    if left is None:
        return None
    *before, m, k = left.shape
    n = y.shape[-2] if transpose_y else y.shape[-1]
    ahead = np.broadcast_shapes(tuple(before), y.shape[:-2])
    one, other = place_of(b, left), place_of(b, y)
    steps = [broadcast_steps(before, ahead), broadcast_steps(y.shape[:-2], ahead)]
    # Steps from matrix to matrix.
    steps = [[step * size for step in each] for each, size in zip(steps, (m * k, k * n), strict=True)]
    counts, along_axes = joined(ahead, *steps)
    if len(counts) > 2:
        return None
    outer, inner = filled_up(counts, 2, 1)
    fields: dict[str, Any] = {}
    for name, place, each in zip("ab", (one, other), along_axes, strict=True):
        fields |= matrices(name, place, filled_up(each, 2, 0))
    out = new(b, (*ahead, m, n))
    scratch = None
    if layout.packs_product(m, n, int(transpose_y), b.lanes):
        scratch = b.buffer(0, fixed_bytes=product_scratch(k, n, b.lanes))
    b.emit(
        "product", outer=outer, inner=inner, m=m, k=k, n=n, turned=int(transpose_y), y=out.buffer, scratch=scratch, **fields
    )  # fmt: skip
    return out


def matrices(name: str, place: Place, steps: Sequence[int]) -> dict[str, Any]:
    """The fields of ``product`` for one side."""
    return {name: place.address, f"{name}_row": place.row, f"{name}_outer": steps[0], f"{name}_inner": steps[1]}


def contracted(b: Builder, x: Value, one: int, y: Value, other: int) -> Value | None:
    """Sums of products along an axis of x and one of y: the other axes of x, then those of y; one of size 1 where none is left."""

    def last(v: Value, axis: int) -> Value | None:
        if axis == len(v.shape) - 1:
            return v
        return transposed(b, v, [*(n for n in range(len(v.shape)) if n != axis), axis])

    if 0 in (*x.shape, *y.shape):
        return None
    size = x.shape[one]
    outer, inner = (tuple(n for axis, n in enumerate(v.shape) if axis != along) for v, along in ((x, one), (y, other)))
    left, right = last(x, one), y if other == 0 else last(y, other)
    if left is None or right is None:
        return None
    matrix = reshaped(b, right, (size, math.prod(inner)) if other == 0 else (math.prod(inner), size))
    out = product(b, reshaped(b, left, (math.prod(outer), size)), matrix, transpose_y=other != 0)
    return out and reshaped(b, out, (*outer, *inner) or (1,))


def weighted(
    b: Builder, layer: Any, what: str, x: Value, matrix: Callable[[], np.ndarray], shape: tuple[int, int], *,
    bias: Callable[[], np.ndarray] | None = None, activation: int = 0,
) -> Value | None:  # fmt: skip
    """activation(x (..., k) @ a matrix (k, n) that is the same for all rows and steps + bias): as a Dense layer.

    ``matrix`` and ``bias`` are called once, to pack what they give; ``activation``: by its code.
    """
    features, units = shape
    if 0 in x.shape or 0 in shape:
        return None
    out = dense(b, layer, what, b.read(x), (math.prod(x.shape[:-1]), features, units), matrix, bias, activation)
    return Value(out, (*x.shape[:-1], units))
