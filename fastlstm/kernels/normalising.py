"""Normalisation by what a row's own numbers are: variance, mean square, length; and by given moments along any axis.

The mean is taken first and the variance about it, both as sums of short sums, so that neither loses digits.
"""

from __future__ import annotations

from typing import Any

from ..program.contracts.normalising import NORMS
from ..program.contracts.reductions import REDUCE_OPS
from .elementary import at_least
from .flags import compiled, inlined
from .memory import clear, load, load_first, load_float, load_part, store_part
from .reductions import short_sum, sum_across, sum_along
from .registry import kernel
from .target import LANES
from .vector import first_lane, splat, sqrt, total

VARIANCE, LENGTH = NORMS["variance"], NORMS["length"]
SUM = REDUCE_OPS["sum"]


@inlined
def _square(x: Any, mean: Any) -> Any:
    return (x - mean) * (x - mean)


@compiled
def _squares_along(x: int, n: int, mean: float) -> float:
    """The sum of the squares of n values that lie side by side, about a mean."""
    whole, centre, size = splat(0.0), splat(mean), short_sum(n // LANES) * LANES
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
def _squares_across(x: int, step: int, n: int, left: int, mean: Any) -> Any:
    """The sum of the squares of n vectors that are so many bytes apart, about a mean; of each, ``left`` values are there."""
    whole, size = splat(0.0), short_sum(n)
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


@inlined
def _inverse(op: int, squares: Any, count: Any, epsilon: float) -> Any:
    """What numbers are multiplied by, whose squares have this sum."""
    return 1.0 / sqrt(at_least(squares, epsilon) if op == LENGTH else squares / count + epsilon)


@inlined
def _scaled(x: Any, by: Any, factor: int, offset: int, i: int, left: int) -> Any:
    """x * by * factor + offset, where there are any."""
    if factor:
        by = by * load_part(factor, i, left)
    return x * by + load_part(offset, i, left) if offset else x * by


@kernel
def layer_norm(f: Any) -> None:
    """The features of each step, normalised, * factor + offset."""
    n, op = f.features, f.op
    count = splat(n)
    for r in range(f.rows * f.steps):
        x, y = f.x + 4 * r * n, f.y + 4 * r * n
        mean = splat(sum_along(SUM, x, n)) / count if op == VARIANCE else splat(0.0)
        by = _inverse(op, splat(_squares_along(x, n, first_lane(mean))), count, f.epsilon)
        for i in range(0, n, LANES):
            store_part(y, i, _scaled(load_part(x, i, n - i) - mean, by, f.factor, f.offset, i, n - i), n - i)


@compiled
def _shared(sums: int, inner: int, width: int) -> None:
    """Each of the sums replaced by that of the ``width`` neighbours that it is one of."""
    if width > 1:
        for g in range(0, inner, width):
            place = sums + 4 * g
            whole = splat(sum_along(SUM, place, width))
            for i in range(0, width, LANES):
                store_part(place, i, whole, width - i)


@compiled
def _statistics(f: Any, x: int, means: int, inverses: int) -> None:
    """Mean, and what is multiplied by, of each place along inner."""
    n, inner, op = f.n, f.inner, f.op
    step, count = 4 * inner, splat(n * f.width)
    if op == VARIANCE:
        for i in range(0, inner, LANES):
            store_part(means, i, sum_across(SUM, x + 4 * i, step, n, inner - i), inner - i)
        _shared(means, inner, f.width)
        for i in range(0, inner, LANES):
            store_part(means, i, load_part(means, i, inner - i) / count, inner - i)
    else:
        clear(means, inner)
    for i in range(0, inner, LANES):
        left = inner - i
        store_part(inverses, i, _squares_across(x + 4 * i, step, n, left, load_part(means, i, left)), left)
    _shared(inverses, inner, f.width)
    for i in range(0, inner, LANES):
        store_part(inverses, i, _inverse(op, load_part(inverses, i, inner - i), count, f.epsilon), inner - i)


@kernel
def norm_across(f: Any) -> None:
    """x (outer, n, inner), normalised along n and among neighbours along inner, * factor + offset, which are by inner."""
    n, inner = f.n, f.inner
    means, inverses = f.scratch, f.scratch + 4 * inner
    for o in range(f.rows * f.outer):
        x, y = f.x + 4 * o * n * inner, f.y + 4 * o * n * inner
        _statistics(f, x, means, inverses)
        for t in range(n):
            for i in range(0, inner, LANES):
                left = inner - i
                centred = load_part(x + 4 * t * inner, i, left) - load_part(means, i, left)
                value = _scaled(centred, load_part(inverses, i, left), f.factor, f.offset, i, left)
                store_part(y + 4 * t * inner, i, value, left)


@kernel
def normalise_across(f: Any) -> None:
    """(x - mean) * factor + offset of x (outer, n, inner), by n."""
    x, y, inner = f.x, f.y, f.inner
    for _ in range(f.rows * f.outer):
        for t in range(f.n):
            mean, factor, offset = load_float(f.mean, t), load_float(f.factor, t), load_float(f.offset, t)
            for i in range(0, inner, LANES):
                store_part(y, i, (load_part(x, i, inner - i) - mean) * factor + offset, inner - i)
            x += 4 * inner
            y += 4 * inner
