"""Blocks: what a cell computes of a tile's result, gates and states of a vector of units at a time.

A block is one chain of dependent operations. Two are computed side by side, which keeps the CPU busy (:func:`paired`). A cell writes
its equations once, for activations that are known when the kernels are compiled or are chosen by their codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..program.layout import Work
from .activation import activated
from .flags import ONE, inlined
from .memory import load_one, load_pair, store_one, store_pair
from .sweep import Tile, fetch
from .target import VECTOR


class Walk(NamedTuple):
    """The blocks of a tile: one of each row, or those side by side in a single row."""

    count: int
    gates: int  # bytes from one to the next in the tile's result
    units: int  # and in states


@inlined
def blocks_of(t: Tile, w: Work) -> Walk:
    """The blocks of a tile that takes a gate's vector of each row's units."""
    if t.panels > 1:
        return Walk(t.panels, VECTOR * t.vectors, ONE * VECTOR)
    return Walk(t.rows, t.row, w.row)


def paired(
    make: Callable[[Any, Any], Callable[..., None]], how: Callable[..., Any] = inlined, fetching: bool = True
) -> Callable[..., None]:
    """A function of blocks that does what ``make(load, store)(blocks, n)`` does to block n: two at a time, the last one alone.

    ``blocks.count`` says how many there are. What the tile's rows read next is fetched meanwhile: all at once, the fetches would
    wait for each other.
    """
    one, two = make(load_one, store_one), make(load_pair, store_pair)

    @how
    def run(blocks, t):
        for n in range(0, blocks.count & -2, 2):
            two(blocks, n)
            if fetching:
                fetch(t, n)
                fetch(t, n + 1)
        if blocks.count & 1:
            one(blocks, blocks.count - 1)
            if fetching:
                fetch(t, blocks.count - 1)

    return run


# -- activations of blocks: functions of the blocks and a vector ------------------------------------------------------------------


def always(activation: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """An activation that is known when the kernels are compiled."""

    @inlined
    def apply(b, x):
        return activation(x)

    return apply


@inlined
def gate_by_code(b: Any, x: Any) -> Any:
    """The recurrent activation, by its code in the blocks."""
    return activated(b.gate, x, b.gate_alpha)


@inlined
def activation_by_code(b: Any, x: Any) -> Any:
    """The activation, by its code in the blocks."""
    return activated(b.code, x, b.alpha)
