"""Pooling over timesteps, of which a mask may leave some out."""

from __future__ import annotations

from typing import Any

from .callbacks import PATIENCE, patience_after
from .flags import ONE, compiled
from .memory import load_byte, load_part, store_part
from .registry import kernel
from .target import LANES
from .vector import INFINITY, select, splat


@compiled
def _window(x: int, mask: int, first: int, last: int, features: int, i: int, mean: int) -> Any:
    """Largest or mean value of features [i, i + LANES) in steps [first, last); NaN where there are no valid ones."""
    left = features - i
    result, count = splat(0.0 if mean else -INFINITY), 0.0
    for t in range(first, last):
        value = load_part(x + 4 * t * features, i, left)
        if mean:
            weight = 1.0
            if mask != 0 and load_byte(mask, t) == 0:
                weight = 0.0
            result = result + value * weight  # as Keras: NaN in a masked step goes on being NaN
            count += weight
        else:
            result = select(value > result, value, select(value != value, value, result))
    if mean:
        result = result / splat(count)
    return result


@kernel
def pool(f: Any) -> None:
    """Maximum (mean = 0) or mean over windows of steps; steps that padding would add, ``before`` of them in front, do not count."""
    left = ONE * PATIENCE
    for r in range(f.rows):
        x, mask = f.x + 4 * r * f.steps * f.features, f.mask + r * f.steps if f.mask else 0
        for t in range(f.y_steps):
            first = t * f.stride - f.before
            last = min(first + f.window, f.steps)
            first = max(first, 0)
            y = f.y + 4 * (r * f.y_steps + t) * f.features
            for i in range(0, f.features, LANES):
                store_part(y, i, _window(x, mask, first, last, f.features, i, f.mean), f.features - i)
            left = patience_after(f, left, (last - first) * f.features)
            if left < 0:
                return
