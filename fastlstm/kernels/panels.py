"""How a step goes through the weights: panel after panel, and for each the rows in tiles. A team of threads divides the panels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..program import layout
from .elementary import inlined
from .target import LANES, TILE_ROWS
from .tile import WIDE, tile
from .vector import load_int, load_one, load_pair, prefetch, store_one, store_pair

compiled = njit(error_model="numpy")
last_width, last_vectors = compiled(layout.last_width), compiled(layout.last_vectors)

#: Numba compiles a function anew for every argument that is a literal; these are not.
ZERO, ONE = np.int64(0), np.int64(1)

# What a tile may have as its result: as many vectors as rows times panels', or those of one row and several panels.
assert max(4 * TILE_ROWS, max(vectors * panels for vectors, panels in WIDE.items())) <= layout.TILE_VECTORS

#: Weights of more bytes are streamed: each panel is fetched into the second cache while the one before it is used.
STREAMED = 1 << 19


class Tile(NamedTuple):
    """What one visit of a cell computes."""

    which: int  # number of the tile
    first: int  # slot of its first row
    rows: int
    panel: int  # the first of its panels
    panels: int
    width: int  # columns of a gate
    vectors: int  # in a row of a panel
    fetched: int  # of the next panel
    ahead: int  # address of the addresses of what its rows read at the next step
    begin: int  # of that, the lines to be fetched meanwhile: from, and up to
    end: int


@inlined
def fetch(t: Tile, n: int) -> None:
    """Have the second cache fetch what row n of a tile, if it has so many, reads at the next step: as much as is this tile's share."""
    if n < t.rows:
        row = load_int(t.ahead, n)
        for line in range(t.begin, t.end):
            prefetch(row + 64 * line)


def paired(
    make: Callable[[Any, Any], Callable[..., None]], how: Callable[..., Any] = inlined, fetching: bool = True
) -> Callable[..., None]:
    """A function of blocks that does what ``make(load, store)(blocks, n)`` does to block n: two at a time, the last one alone.

    A block is one chain of dependent operations; side by side they keep the CPU busy, which one after the other does not.
    ``blocks.count`` says how many there are. What the tile's rows read next is fetched meanwhile: all at once, the fetches would
    wait for each other.
    """
    one, two = make(load_one, store_one), make(load_pair, store_pair)

    @how
    def run(blocks, t):  # type: ignore[no-untyped-def]
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


@compiled
def share(whole: int, at_once: int, member: int, members: int) -> tuple[int, int]:
    """Which of the whole panels are a member's, so many at once: from, and up to."""
    if members < 2:
        return ZERO, whole
    begin = whole * member // members // at_once * at_once
    return begin, whole if member + 1 == members else whole * (member + 1) // members // at_once * at_once


@compiled
def pace_of(weights: int, members: int, parts: int, panel: int) -> int:
    """How many lines of the next panel a tile fetches for each two k; 0: there are so few weights that a cache keeps a member's.

    So many tiles share a panel that has so many bytes for each k. At a line for every k the fetches wait for each other, and with
    them what reads the weights of this panel: where tiles are enough, each fetches a line for every second.
    """
    if 4 * weights <= STREAMED * max(members, 1):
        return 0
    return 1 if 4 * 32 * parts >= 3 * panel else 2


@compiled
def fetched_by(part: int, following: int, pace: int, panel: int) -> int:
    """A tile's share of the next panel, ``following`` bytes behind: where it starts, in bytes for each k, and the pace in the low bits.

    What has no share in it, or where ``following`` is 0 as none comes, fetches from its own panel, which is there.
    """
    share = 32 * pace * part
    return following + share + pace if following and share < panel else pace


def sweeper(gates: int, visit: Callable[..., None]) -> Callable[..., None]:
    """A function that takes the panels one after another, and for each the rows in tiles.

    ``visit(f, w, cell, tile)`` computes one, and fetches meanwhile what the tile says.
    """
    whole_vectors = layout.panel_vectors(gates)
    block = layout.block_units(gates, LANES)
    whole_width = block if gates == 1 else LANES
    at_once = WIDE[whole_vectors]
    wide_tile = 4 * TILE_ROWS + whole_vectors - 1
    panel_bytes = 4 * LANES * whole_vectors  # for each k

    @compiled
    def sweep(f, w, cell, rows, backwards, ahead, size):  # type: ignore[no-untyped-def]
        """``ahead``, ``size``: which bytes at the slots' addresses ``w.ahead`` are fetched meanwhile."""
        whole = f.units // block
        mine, theirs = share(whole, ONE * at_once, f.member, f.members)
        groups = (theirs - mine) // at_once if rows == 1 else 0
        grouped = mine + groups * at_once
        # The narrow one is the last member's.
        last = last_vectors(f.units, ONE * gates, ONE * LANES) if f.member + 1 >= f.members else 0
        items = groups + theirs - grouped + (1 if last else 0)
        parts = (rows + TILE_ROWS - 1) // TILE_ROWS
        least = rows // parts if parts > 1 else rows
        more = rows - least * parts
        end, last_line = ahead >> 6, (ahead + size + 63) >> 6
        onwards = -ONE * panel_bytes if backwards else ONE * panel_bytes
        inputs = ZERO if f.table else f.features
        pace = pace_of(gates * (inputs + f.units) * f.units, f.members, parts, ONE * panel_bytes)
        # A little at a time, as a core can wait for few lines at once. Found without a division, which would be a good part of
        # one row's step: at least lines for each item.
        scale = ZERO
        while 2 << scale <= items:
            scale += 1
        each = (last_line - end + (1 << scale) - 1) >> scale
        for item in range(items):
            # Forwards and backwards in turn: what the caches still hold is used first.
            at = items - 1 - item if backwards else item
            panel, panels, width, vectors = grouped + at - groups, ONE, ONE * whole_width, ONE * whole_vectors
            if at < groups:
                panel, panels = mine + at * at_once, ONE * at_once
            elif panel == whole:
                width, vectors = last_width(f.units, ONE * gates, ONE * LANES), last
            begin, end = end, min(end + each, last_line)
            first = ZERO
            for part in range(parts):
                count = least + (1 if part < more else 0)
                which = 4 * (count - 1) + vectors - 1 if panels == 1 else ONE * wide_tile
                fetched = fetched_by(part, ZERO if item + 1 == items else onwards, pace, ONE * panel_bytes)
                visit(f, w, cell, Tile(which, first, count, panel, panels, width, vectors, fetched, w.ahead + 8 * first, begin, end))
                first += count

    return sweep


@cache
def projector(gates: int) -> Callable[..., None]:
    """A function that computes bias + x @ kernel as panel-ordered rows, for rows of x at any addresses."""
    whole_vectors = layout.panel_vectors(gates)
    block = layout.block_units(gates, LANES)
    at_once = WIDE[whole_vectors]
    panel_bytes = 4 * LANES * whole_vectors

    @compiled
    def project(f, pairs, count, kernel, bias, y, y_row):  # type: ignore[no-untyped-def]
        """``pairs``: addresses of the rows of x; ``bias``: addresses of the bias, for each row of a tile; ``y_row``: bytes."""
        features, units = f.features, f.units
        whole = units // block
        mine, theirs = share(whole, ONE * at_once, f.member, f.members)
        last = last_vectors(units, ONE * gates, ONE * LANES) if f.member + 1 >= f.members else 0
        parts = (count + TILE_ROWS - 1) // TILE_ROWS
        least = count // parts
        more = count - least * parts
        pace = pace_of(gates * features * units, f.members, parts, ONE * panel_bytes)
        for panel in range(mine, theirs + (1 if last else 0)):
            vectors = whole_vectors if panel < whole else last
            offset = 4 * LANES * whole_vectors * panel
            following = ZERO if (panel + 1) * block >= units else ONE * panel_bytes
            first = ZERO
            for part in range(parts):
                rows = least + (1 if part < more else 0)
                tile(
                    4 * (rows - 1) + vectors - 1, y + first * y_row + offset, y_row, bias, offset,
                    pairs + 8 * first, kernel + offset * features, features, pairs, 0, 0,
                    fetched_by(part, following, pace, ONE * panel_bytes),
                )  # fmt: skip
                first += rows

    return project


@cache
def columns_of(gates: int) -> Callable[[int], int]:
    """A function units -> floats in a panel-ordered row."""
    block, vectors = layout.block_units(gates, LANES), layout.panel_vectors(gates)

    @compiled
    def columns(units: int) -> int:
        return (units // block * vectors + last_vectors(units, ONE * gates, ONE * LANES)) * LANES

    return columns
