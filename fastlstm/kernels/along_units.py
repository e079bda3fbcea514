"""What needs all units of a row at once: softmax and the like, by itself and as the activation of a recurrent cell.

Such a cell's sweep keeps its pre-activations, panel by panel, in ``kept``. Once all of them are there, its gates are computed row by
row, each gate's units side by side.
"""

from __future__ import annotations

from typing import Any

from ..activations import ALONG_UNITS
from ..program.contracts.recurrent import FIRST_ALONG
from .activation import activated
from .elementary import exp, log
from .flags import ONE, compiled, inlined
from .layout import kept_row, last_width, padded_units
from .memory import copy, load_first, load_part, store_part
from .sweep import Tile
from .target import LANES
from .vector import INFINITY, largest, select, splat, total

SOFTMAX, LOG_SOFTMAX = ALONG_UNITS["softmax"], ALONG_UNITS["log_softmax"]


# -- of a row --------------------------------------------------------------------------------------------------------------------


@compiled
def _top(x: int, size: int) -> Any:
    """The largest of a row in every lane; NaN does not count."""
    tops = splat(-INFINITY)
    for i in range(0, size, LANES):
        v = load_first(x, i, min(size - i, LANES), -INFINITY)
        tops = select(v > tops, v, tops)
    return splat(largest(tops))


@compiled
def softmax(y: int, x: int, size: int) -> None:
    """y = exp(x - max) / sum; y may be where x is."""
    top, sums = _top(x, size), splat(0.0)
    for i in range(0, size, LANES):
        v = exp(load_first(x, i, min(size - i, LANES), -INFINITY) - top)
        sums = sums + v
        store_part(y, i, v, size - i)
    whole = splat(total(sums))
    for i in range(0, size, LANES):
        store_part(y, i, load_part(y, i, size - i) / whole, size - i)


@compiled
def log_softmax(y: int, x: int, size: int) -> None:
    """y = x - max - log(sum(exp(x - max))); y may be where x is."""
    top, sums = _top(x, size), splat(0.0)
    for i in range(0, size, LANES):
        sums = sums + exp(load_first(x, i, min(size - i, LANES), -INFINITY) - top)
    logarithm = log(splat(total(sums)))
    for i in range(0, size, LANES):
        store_part(y, i, load_part(x, i, size - i) - top - logarithm, size - i)


@compiled
def activate_row(code: int, alpha: float, x: int, size: int) -> None:
    """Apply an activation of any code to a row, in place."""
    if code == SOFTMAX:
        softmax(x, x, size)
    elif code == LOG_SOFTMAX:
        log_softmax(x, x, size)
    else:
        for i in range(0, size, LANES):
            store_part(x, i, activated(code, load_part(x, i, size - i), alpha), size - i)


# -- of a cell -------------------------------------------------------------------------------------------------------------------


@inlined
def along_units(f: Any) -> bool:
    """Does an activation of a cell need all units of a row?"""
    return f.activation >= FIRST_ALONG or f.recurrent_activation >= FIRST_ALONG


@compiled
def kept_at(f: Any, columns: int, slot: int) -> int:
    """Where the pre-activations of a slot are kept; ``columns``: floats in a panel-ordered row of them."""
    return f.kept + 4 * slot * kept_row(columns, f.units, ONE * LANES)


@compiled
def unpacked_at(f: Any, columns: int, slot: int) -> int:
    """Where a slot's gates are, one after the other."""
    return kept_at(f, columns, slot) + 8 * columns


@compiled
def keep(f: Any, columns: int, t: Tile, n: int, x: int, place: int) -> None:
    """Keep the pre-activations x of a tile's row n, as the panels that they are of a row ``place`` floats into what is kept."""
    copy(kept_at(f, columns, t.first + n) + 4 * place + t.panel, x, t.row >> 2)


@compiled
def unpack(y: int, x: int, units: int, gates: int) -> int:
    """Bring the gates of a panel-ordered row x one after the other; the bytes from one to the next."""
    step = 4 * padded_units(units, ONE * LANES)
    for unit in range(0, units, LANES):
        left = min(units - unit, LANES)
        width = LANES if left == LANES else last_width(units, gates, ONE * LANES)
        for gate in range(gates):
            copy(y + gate * step + 4 * unit, x + 4 * (gates * unit + gate * width), left)
    return step


@inlined
def mine(f: Any, rows: int) -> tuple[int, int]:
    """The slots whose rows a member computes: from, and up to."""
    members = max(f.members, 1)
    return rows * f.member // members, rows * (f.member + 1) // members
