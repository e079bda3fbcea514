"""Normalisation by what a row's own numbers are: variance, mean square, length; and by given moments along any axis.

The mean is taken first and the variance about it, both as sums of short sums, so that neither loses digits.
"""

from __future__ import annotations

from typing import Any

from ..program.contracts.normalising import NORMS
from .elementary import at_least
from .flags import compiled, inlined
from .memory import clear, load_float, load_part, store_part
from .registry import kernel
from .sums import SUM, squares_across, squares_along, sum_across, sum_along
from .target import LANES
from .vector import first_lane, splat, sqrt

VARIANCE, LENGTH = NORMS["variance"], NORMS["length"]


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
        by = _inverse(op, splat(squares_along(x, n, first_lane(mean))), count, f.epsilon)
        for i in range(0, n, LANES):
            store_part(y, i, _scaled(load_part(x, i, n - i) - mean, by, f.factor, f.offset, i, n - i), n - i)


@compiled
def _shared(sums: int, groups: int, width: int) -> None:
    """Each of the sums replaced by that of the ``width`` neighbours that it is one of."""
    if width > 1:
        for g in range(groups):
            place = sums + 4 * g * width
            whole = splat(sum_along(SUM, place, width))
            for i in range(0, width, LANES):
                store_part(place, i, whole, width - i)


@compiled
def _statistics(f: Any, x: int, means: int, inverses: int) -> None:
    """Mean, and what is multiplied by, of each place along inner."""
    n, inner, op = f.n, f.groups * f.width, f.op
    step, count = 4 * inner, splat(n * f.width)
    if op == VARIANCE:
        for i in range(0, inner, LANES):
            store_part(means, i, sum_across(SUM, x + 4 * i, step, n, inner - i), inner - i)
        _shared(means, f.groups, f.width)
        for i in range(0, inner, LANES):
            store_part(means, i, load_part(means, i, inner - i) / count, inner - i)
    else:
        clear(means, inner)
    for i in range(0, inner, LANES):
        left = inner - i
        store_part(inverses, i, squares_across(x + 4 * i, step, n, left, load_part(means, i, left)), left)
    _shared(inverses, f.groups, f.width)
    for i in range(0, inner, LANES):
        store_part(inverses, i, _inverse(op, load_part(inverses, i, inner - i), count, f.epsilon), inner - i)


@kernel
def norm_across(f: Any) -> None:
    """x (outer, n, groups, width), each group normalised along n and width, * factor + offset, which are by groups and width."""
    n, inner = f.n, f.groups * f.width
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
