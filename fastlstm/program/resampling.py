"""Kernel calls that give an axis another number of steps: means of windows, weighted sums of neighbours.

Axes are counted less the batch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .arithmetic import new
from .ir import Builder, Value


class Taps(NamedTuple):
    """What each place of a new axis is made of: neighbouring steps of the old one, from a first one on, by weights."""

    starts: np.ndarray  # int64 (places,)
    weights: np.ndarray  # float64 (places, taps)


def adaptive_mean(b: Builder, x: Value, axis: int, size: int) -> Value | None:
    """Means over windows that divide an axis into ``size`` places."""
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    if 0 in x.shape or 0 in shape:
        return None
    out = new(b, shape)
    outer, n, inner = math.prod(shape[:axis]), x.shape[axis], math.prod(shape[axis + 1 :])
    b.emit("adaptive_mean", outer=outer, n=n, inner=inner, x=b.read(x), y=out.buffer, y_steps=size)
    return out


def blended(b: Builder, layer: Any, x: Value, axis: int, taps: Taps) -> Value | None:
    """The weighted sums of ``taps`` along an axis."""
    places, count = taps.weights.shape
    shape = (*x.shape[:axis], places, *x.shape[axis + 1 :])
    if 0 in x.shape or 0 in shape:
        return None
    out = new(b, shape)
    n = x.shape[axis]
    name = f"from {n} along {axis}"
    b.emit(
        "blend", outer=math.prod(shape[:axis]), n=n, inner=math.prod(shape[axis + 1 :]), x=b.read(x), taps=count,
        starts=b.constant(layer, f"starts {name}", lambda: taps.starts.astype(np.float32)),
        weights=b.constant(layer, f"weights {name}", lambda: taps.weights.astype(np.float32)),
        y=out.buffer, y_steps=places,
    )  # fmt: skip
    return out
