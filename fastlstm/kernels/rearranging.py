"""One kernel for everything that arranges the numbers of a tensor otherwise: transposing, slicing, repeating, padding."""

from __future__ import annotations

from typing import Any

from .flags import compiled
from .memory import copy, load_float, store_float, store_part, transpose
from .registry import kernel
from .target import LANES
from .vector import splat


@compiled
def _filled(y: int, size: int, value: float) -> None:
    v = splat(value)
    for i in range(0, size, LANES):
        store_part(y, i, v, size - i)


@compiled
def _line(f: Any, x: int, y: int) -> None:
    """The last axis."""
    if f.x == 0 or f.x4 == 0:
        value = load_float(x, 0) if f.x else f.value
        if f.y4 == 1:
            _filled(y, f.n4, value)
        else:
            for i in range(f.n4):
                store_float(y, i * f.y4, value)
    elif f.x4 == 1 and f.y4 == 1:
        copy(y, x, f.n4)
    else:
        for i in range(f.n4):
            store_float(y, i * f.y4, load_float(x, i * f.x4))


@compiled
def _plane(f: Any, x: int, y: int) -> None:
    """The last two axes."""
    if f.x != 0 and f.x3 == 1 and f.y4 == 1 and f.x4 > 1 and f.n3 >= 4:
        transpose(y, 4 * f.y3, x, 4 * f.x4, f.n3, f.n4)
    else:
        for i in range(f.n3):
            _line(f, x + 4 * i * f.x3, y + 4 * i * f.y3)


@kernel
def rearrange(f: Any) -> None:
    """y = x, or a number where there is no x, each side with its own steps along five axes."""
    for r in range(f.rows):
        x, y = f.x + 4 * r * f.x_row, f.y + 4 * r * f.y_row
        for i in range(f.n0):
            for j in range(f.n1):
                for k in range(f.n2):
                    _plane(f, x + 4 * (i * f.x0 + j * f.x1 + k * f.x2), y + 4 * (i * f.y0 + j * f.y1 + k * f.y2))
