"""Activations with parameters, given or learned, and those along a row that are no softmax."""

from __future__ import annotations

from typing import Any

from ..program.contracts.curves import CURVES
from .along_units import log_softmax as log_softmax_row
from .elementary import at_least, at_most, magnitude, softplus
from .flags import ZERO, compiled
from .memory import load_float, load_part, store_float, store_part
from .registry import kernel
from .target import LANES
from .vector import any_true, select, splat

PRELU, SOFTPLUS, SRELU_CLIPPED = CURVES["prelu"], CURVES["softplus"], CURVES["srelu_clipped"]


@kernel
def rectify(f: Any) -> None:
    """relu with a slope below a threshold, and a limit."""
    size, threshold, slope, limit = f.rows * f.size, f.threshold, f.slope, f.limit
    for i in range(0, size, LANES):
        x = load_part(f.x, i, size - i)
        # As Keras: what is not beyond the threshold is multiplied by 0.
        y = select(x > threshold, x, x * 0.0) if threshold != 0.0 else at_least(x, 0.0)
        if f.limited:
            y = at_most(at_least(y, 0.0), limit)
        if slope != 0.0:
            y = y - at_least(threshold - x, 0.0) * slope
        store_part(f.y, i, y, size - i)


@compiled
def _srelu(x: Any, left: Any, left_slope: Any, right: Any, right_slope: Any, clipped: bool) -> Any:
    width = magnitude(right)
    beyond = x - left
    below = beyond * left_slope
    if clipped:
        below = select(below > width, width, below)
    middle = select(beyond > 0.0, select(beyond > width, width, beyond), below)
    return left + middle + at_least(beyond - width, 0.0) * right_slope


@compiled
def _parameter(address: int, i: int, left: int) -> Any:
    return load_part(address, i, left) if address else splat(0.0)


@kernel
def place_wise(f: Any) -> None:
    """A curve with parameters by feature."""
    size, op = f.features, f.op
    for r in range(f.rows * f.steps):
        x, y = f.x + 4 * r * size, f.y + 4 * r * size
        for i in range(0, size, LANES):
            left = size - i
            v, p = load_part(x, i, left), load_part(f.p0, i, left)
            if op == PRELU:
                v = at_least(v, 0.0) + p * at_most(v, 0.0)
            elif op == SOFTPLUS:
                v = softplus(_parameter(f.p1, i, left) * v) * p
            else:
                slope, right, right_slope = _parameter(f.p1, i, left), _parameter(f.p2, i, left), _parameter(f.p3, i, left)
                v = _srelu(v, p, slope, right, right_slope, op == SRELU_CLIPPED)
            store_part(y, i, v, left)


@kernel
def log_softmax(f: Any) -> None:
    """(x - max) - log(sum(exp(x - max))) over the features of each step."""
    size = f.features
    for r in range(f.rows * f.steps):
        log_softmax_row(f.y + 4 * r * size, f.x + 4 * r * size, size)


@compiled
def _sift(x: int, root: int, size: int) -> None:
    """Have a number of a heap, of which the least stands first, sink to where it belongs."""
    value = load_float(x, root)
    while 2 * root + 1 < size:
        child = 2 * root + 1
        if child + 1 < size and load_float(x, child + 1) < load_float(x, child):
            child += 1
        if not load_float(x, child) < value:
            break
        store_float(x, root, load_float(x, child))
        root = child
    store_float(x, root, value)


@compiled
def _sort(x: int, size: int) -> None:
    """Order numbers, of which none is NaN, the largest first."""
    for n in range(size // 2):
        _sift(x, size // 2 - 1 - n, size)
    for n in range(size - 1):
        last = size - 1 - n
        least = load_float(x, ZERO)
        store_float(x, ZERO, load_float(x, last))
        store_float(x, last, least)
        _sift(x, ZERO, last)


@compiled
def _numbers(y: int, x: int, size: int) -> int:
    """Copy the numbers that are not NaN; how many there are."""
    count = ZERO
    for i in range(size):
        value = load_float(x, i)
        if value == value:
            store_float(y, count, value)
            count += 1
    return count


@kernel
def sparsemax(f: Any) -> None:
    """As Keras has it: its threshold takes the sum of all sums of the largest numbers in the support."""
    size, ordered = f.features, f.scratch
    for r in range(f.rows * f.steps):
        x, y = f.x + 4 * r * size, f.y + 4 * r * size
        there = _numbers(ordered, x, size)
        _sort(ordered, there)
        so_far, whole, support = splat(0.0), splat(0.0), 0.0
        for n in range(there):
            value = splat(load_float(ordered, n))
            so_far = so_far + value
            if any_true(value - (so_far - 1.0) / splat(n + 1) > 0.0):
                whole = whole + so_far
                support += 1.0
        threshold = (whole - 1.0) / splat(support)
        for i in range(0, size, LANES):
            store_part(y, i, at_least(load_part(x, i, size - i) - threshold, 0.0), size - i)
