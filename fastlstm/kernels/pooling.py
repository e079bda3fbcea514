"""Pooling over timesteps of which a mask leaves some out."""

from __future__ import annotations

from typing import Any

from .callbacks import PATIENCE, patience_after
from .flags import ONE, compiled
from .memory import load_byte, load_part, store_part
from .registry import kernel
from .target import LANES
from .vector import splat


@compiled
def _mean(f: Any, x: int, mask: int, i: int) -> Any:
    """The mean value of features [i, i + LANES); NaN where there are no valid steps."""
    left = f.features - i
    result, count = splat(0.0), 0.0
    for t in range(f.steps):
        weight = 0.0 if load_byte(mask, t) == 0 else 1.0
        result = result + load_part(x + 4 * t * f.features, i, left) * weight  # as Keras: NaN in a masked step goes on being NaN
        count += weight
    return result / splat(count)


@kernel
def masked_mean(f: Any) -> None:
    """The mean of the valid steps."""
    left = ONE * PATIENCE
    for r in range(f.rows):
        x, mask = f.x + 4 * r * f.steps * f.features, f.mask + r * f.steps
        for i in range(0, f.features, LANES):
            store_part(f.y + 4 * r * f.features, i, _mean(f, x, mask, i), f.features - i)
        left = patience_after(f, left, f.steps * f.features)
        if left < 0:
            return
