"""An axis in another number of steps: means of windows that divide it, and weighted sums of neighbours."""

from __future__ import annotations

from typing import Any

from .flags import compiled
from .memory import load_float, load_part, store_part
from .registry import kernel
from .sums import SUM, sum_across
from .target import LANES
from .vector import fma, splat


@kernel
def adaptive_mean(f: Any) -> None:
    """Means of windows along n of x (outer, n, inner)."""
    n, inner, size = f.n, f.inner, f.y_steps
    for o in range(f.rows * f.outer):
        x = f.x + 4 * o * n * inner
        for place in range(size):
            first = place * n // size
            count = ((place + 1) * n + size - 1) // size - first
            y = f.y + 4 * (o * size + place) * inner
            for i in range(0, inner, LANES):
                sums = sum_across(SUM, x + 4 * (first * inner + i), 4 * inner, count, inner - i)
                store_part(y, i, sums / splat(count), inner - i)


@compiled
def _blended(x: int, step: int, weights: int, taps: int, left: int) -> Any:
    """Weighted sum of vectors that are so many bytes apart. What weighs nothing is not there: infinity times 0 is NaN."""
    so_far = splat(0.0)
    for k in range(taps):
        weight = load_float(weights, k)
        if weight != 0.0:
            so_far = fma(load_part(x + k * step, 0, left), weight, so_far)
    return so_far


@kernel
def blend(f: Any) -> None:
    """Weighted sums along n of x (outer, n, inner)."""
    n, inner, taps, size = f.n, f.inner, f.taps, f.y_steps
    for o in range(f.rows * f.outer):
        x = f.x + 4 * o * n * inner
        for place in range(size):
            # Whatever the constant says: a window ends with the axis.
            first = max(min(int(load_float(f.starts, place)), n - taps), 0)
            y, weights = f.y + 4 * (o * size + place) * inner, f.weights + 4 * place * taps
            for i in range(0, inner, LANES):
                store_part(y, i, _blended(x + 4 * (first * inner + i), 4 * inner, weights, taps, inner - i), inner - i)
