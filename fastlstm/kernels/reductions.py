"""Reductions along an axis, and what else goes along one: sums so far, softmax.

An array is seen as (outer, n, inner), and reduced along n.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..program.contracts.reductions import REDUCE_OPS
from .arithmetic import greater_of, lesser_of, truth
from .elementary import exp
from .flags import compiled, inlined
from .memory import load_first, load_float, load_part, store_float, store_part
from .registry import kernel
from .sums import SUMSQ, sum_across, sum_along
from .target import LANES
from .vector import INFINITY, first_lane, rotated, splat

MEAN, PROD, MAX, MIN, ANY = (REDUCE_OPS[name] for name in ("mean", "prod", "max", "min", "any"))


@inlined
def _neutral(op: int) -> float:
    """What changes nothing in an array that is reduced."""
    if op == MAX:
        return -INFINITY
    if op == MIN:
        return INFINITY
    return 0.0 if op == ANY else 1.0


@compiled
def _with(op: int, so_far: Any, x: Any) -> Any:
    """One more value of a reduction that is no sum. Where truth is asked for, 1 or 0."""
    if op == PROD:
        return so_far * x
    if op == MAX:
        return greater_of(so_far, x)
    if op == MIN:
        return lesser_of(so_far, x)
    if op == ANY:
        return greater_of(so_far, truth(x != 0.0))
    return lesser_of(so_far, truth(x != 0.0))


def _folding(distance: int) -> Callable[[int, Any], Any]:
    """A function that reduces the lanes of a vector, halves with halves, beginning with lanes so far apart; the first has the result."""
    turned = rotated(distance)
    if distance == 1:

        @compiled
        def last(op, v):
            return _with(op, v, turned(v))

        return last
    rest = _folding(distance // 2)

    @compiled
    def fold(op, v):
        return rest(op, _with(op, v, turned(v)))

    return fold


_folded = _folding(LANES // 2)


@compiled
def _along(op: int, x: int, n: int) -> float:
    """n values that lie side by side, reduced."""
    neutral = _neutral(op)
    so_far = splat(neutral)
    for i in range(0, n, LANES):
        so_far = _with(op, so_far, load_first(x, i, min(n - i, LANES), neutral))
    return first_lane(_folded(op, so_far))


@compiled
def _across(op: int, x: int, step: int, n: int, left: int) -> Any:
    """n vectors that are so many bytes apart, reduced."""
    so_far = splat(_neutral(op))
    for i in range(n):
        so_far = _with(op, so_far, load_part(x + i * step, 0, left))
    return so_far


@kernel
def reduce(f: Any) -> None:
    """y (outer, inner) = x (outer, n, inner) reduced along n."""
    op, n, inner = f.op, f.n, f.inner
    divisor = splat(n if op == MEAN else 1.0)
    summed = op <= SUMSQ  # the first of them
    for o in range(f.rows * f.outer):
        x, y = f.x + 4 * o * n * inner, f.y + 4 * o * inner
        if inner == 1:
            value = sum_along(op, x, n) if summed else _along(op, x, n)
            store_float(y, 0, value / n if op == MEAN else value)
        else:
            for i in range(0, inner, LANES):
                left = inner - i
                if summed:
                    store_part(y, i, sum_across(op, x + 4 * i, 4 * inner, n, left) / divisor, left)
                else:
                    store_part(y, i, _across(op, x + 4 * i, 4 * inner, n, left), left)


@kernel
def cumulate(f: Any) -> None:
    """y = the sum of x (outer, n, inner) along n so far."""
    n, inner = f.n, f.inner
    for o in range(f.rows * f.outer):
        x, y = f.x + 4 * o * n * inner, f.y + 4 * o * n * inner
        if inner == 1:
            so_far = load_float(x, 0)
            store_float(y, 0, so_far)
            for t in range(1, n):
                so_far += load_float(x, t)
                store_float(y, t, so_far)
        else:
            for i in range(0, inner, LANES):
                sums = splat(0.0)
                for t in range(n):
                    sums = sums + load_part(x + 4 * t * inner, i, inner - i)
                    store_part(y + 4 * t * inner, i, sums, inner - i)


@kernel
def softmax_across(f: Any) -> None:
    """exp(x - max) / sum along n of x (outer, n, inner)."""
    n, inner = f.n, f.inner
    for o in range(f.rows * f.outer):
        for i in range(0, inner, LANES):
            x, y = f.x + 4 * (o * n * inner + i), f.y + 4 * (o * n * inner + i)
            left = inner - i
            top = splat(-INFINITY)
            for t in range(n):
                top = greater_of(top, load_part(x + 4 * t * inner, 0, left))
            sums = splat(0.0)
            for t in range(n):
                value = exp(load_part(x + 4 * t * inner, 0, left) - top)
                sums = sums + value
                store_part(y + 4 * t * inner, 0, value, left)
            for t in range(n):
                store_part(y + 4 * t * inner, 0, load_part(y + 4 * t * inner, 0, left) / sums, left)
