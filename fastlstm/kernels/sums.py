"""Sums along an axis, made of many short ones, so that their error hardly grows with how many numbers there are."""

from __future__ import annotations

from typing import Any

from ..program.contracts.reductions import REDUCE_OPS
from .flags import ONE, compiled, inlined
from .memory import load, load_first, load_part
from .target import LANES
from .vector import splat, total

SUM, SUMSQ = REDUCE_OPS["sum"], REDUCE_OPS["sumsq"]
#: Values of each lane that a short sum takes at least.
SHORT = 64


@inlined
def _term(op: int, x: Any) -> Any:
    """What is added up."""
    return x * x if op == SUMSQ else x


@inlined
def _short(n: int) -> int:
    """Values of each lane that a short sum takes of so many: no more than there are sums then, or SHORT."""
    size = ONE * SHORT
    while size * size < n:
        size *= 2
    return size


@compiled
def sum_along(op: int, x: int, n: int) -> float:
    """The sum of n values that lie side by side."""
    whole, size = splat(0.0), _short(n // LANES) * LANES
    i = 0
    while i < n:
        stop = min(i + size, n)
        s0, s1, s2, s3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        while i + 4 * LANES <= stop:
            s0 = s0 + _term(op, load(x, i))
            s1 = s1 + _term(op, load(x, i + LANES))
            s2 = s2 + _term(op, load(x, i + 2 * LANES))
            s3 = s3 + _term(op, load(x, i + 3 * LANES))
            i += 4 * LANES
        while i < stop:
            s0 = s0 + _term(op, load_part(x, i, stop - i))
            i += LANES
        whole = whole + (s0 + s1) + (s2 + s3)
    return total(whole)


@compiled
def sum_across(op: int, x: int, step: int, n: int, left: int) -> Any:
    """The sum of n vectors that are so many bytes apart, of which ``left`` values are there."""
    whole, size = splat(0.0), _short(n)
    i = 0
    while i < n:
        stop = min(i + size, n)
        s0, s1, s2, s3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        while i + 4 <= stop:
            place = x + i * step
            s0 = s0 + _term(op, load_part(place, 0, left))
            s1 = s1 + _term(op, load_part(place + step, 0, left))
            s2 = s2 + _term(op, load_part(place + 2 * step, 0, left))
            s3 = s3 + _term(op, load_part(place + 3 * step, 0, left))
            i += 4
        while i < stop:
            s0 = s0 + _term(op, load_part(x + i * step, 0, left))
            i += 1
        whole = whole + (s0 + s1) + (s2 + s3)
    return whole


@inlined
def _square(x: Any, mean: Any) -> Any:
    return (x - mean) * (x - mean)


@compiled
def squares_along(x: int, n: int, mean: float) -> float:
    """The sum of the squares of n values that lie side by side, about a mean."""
    whole, centre, size = splat(0.0), splat(mean), _short(n // LANES) * LANES
    i = 0
    while i < n:
        stop = min(i + size, n)
        s0, s1, s2, s3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        while i + 4 * LANES <= stop:
            s0 = s0 + _square(load(x, i), centre)
            s1 = s1 + _square(load(x, i + LANES), centre)
            s2 = s2 + _square(load(x, i + 2 * LANES), centre)
            s3 = s3 + _square(load(x, i + 3 * LANES), centre)
            i += 4 * LANES
        while i < stop:
            s0 = s0 + _square(load_first(x, i, min(stop - i, LANES), mean), centre)
            i += LANES
        whole = whole + (s0 + s1) + (s2 + s3)
    return total(whole)


@compiled
def squares_across(x: int, step: int, n: int, left: int, mean: Any) -> Any:
    """The sum of the squares of n vectors that are so many bytes apart, about a mean; of each, ``left`` values are there."""
    whole, size = splat(0.0), _short(n)
    i = 0
    while i < n:
        stop = min(i + size, n)
        s0, s1 = splat(0.0), splat(0.0)
        while i + 2 <= stop:
            s0 = s0 + _square(load_part(x + i * step, 0, left), mean)
            s1 = s1 + _square(load_part(x + (i + 1) * step, 0, left), mean)
            i += 2
        if i < stop:
            s0 = s0 + _square(load_part(x + i * step, 0, left), mean)
            i += 1
        whole = whole + (s0 + s1)
    return whole
