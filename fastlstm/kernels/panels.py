"""How a step goes through the weights: panel after panel, and for each the rows in tiles. A crew of threads divides the panels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .. import packing
from .elementary import inlined
from .target import LANES, TILE_ROWS
from .tile import AHEAD_ROWS, LONG, WIDE, tile
from .vector import load_int, load_one, load_pair, prefetch, store_one, store_pair

compiled = njit(error_model="numpy")
last_width, last_vectors = compiled(packing.last_width), compiled(packing.last_vectors)

#: Numba compiles a function anew for every argument that is a literal; these are not.
ZERO, ONE = np.int64(0), np.int64(1)

#: Vectors that the result of a tile may have: as many as rows times panels' vectors, or those of one row and several panels.
TILE_VECTORS = max(4 * TILE_ROWS, max(vectors * panels for vectors, panels in WIDE.items()))


def paired(make: Callable[[Any, Any], Callable[..., None]], how: Callable[..., Any] = inlined) -> Callable[..., None]:
    """A function of blocks that does what ``make(load, store)(blocks, n)`` does to block n: two at a time, the last one alone.

    A block is one chain of dependent operations; side by side they keep the CPU busy, which one after the other does not.
    ``blocks.count`` says how many there are.
    """
    one, two = make(load_one, store_one), make(load_pair, store_pair)

    @how
    def run(blocks):  # type: ignore[no-untyped-def]
        for n in range(0, blocks.count & -2, 2):
            two(blocks, n)
        if blocks.count & 1:
            one(blocks, blocks.count - 1)

    return run


@compiled
def share(whole: int, at_once: int, member: int, members: int) -> tuple[int, int]:
    """Which of the whole panels are a member's, so many at once: from, and up to."""
    if members < 2:
        return ZERO, whole
    begin = whole * member // members // at_once * at_once
    return begin, whole if member + 1 == members else whole * (member + 1) // members // at_once * at_once


class Tile(NamedTuple):
    """What one visit of a cell computes."""

    which: int  # number of the tile
    first: int  # slot of its first row
    rows: int
    panel: int  # the first of its panels
    panels: int
    width: int  # columns of a gate
    vectors: int  # in a row of a panel
    jump: int  # where this tile's share of the next panel starts: bytes behind this one, for each k


def sweeper(gates: int, visit: Callable[..., None]) -> Callable[..., None]:
    """A function that takes the panels one after another, and for each the rows in tiles.

    ``visit(f, w, cell, tile)`` computes one.
    """
    whole_vectors = packing.panel_vectors(gates)
    block = packing.block_units(gates, LANES)
    whole_width = block if gates == 1 else LANES
    at_once = WIDE[whole_vectors]
    wide_tile = 4 * TILE_ROWS + whole_vectors - 1
    panel_bytes = 4 * LANES * whole_vectors  # for each k
    panel_lines = (panel_bytes + 63) // 64

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
        least = rows // parts
        more = rows - least * parts
        lines = (size + 63) >> 6
        onwards = -ONE * panel_bytes if backwards else ONE * panel_bytes
        fetched = ONE * panel_lines if rows >= AHEAD_ROWS and (f.features > LONG or f.units > LONG) else ZERO
        for item in range(items):
            # Forwards and backwards in turn: what the caches still hold is used first.
            at = items - 1 - item if backwards else item
            panel, panels, width, vectors = grouped + at - groups, ONE, ONE * whole_width, ONE * whole_vectors
            if at < groups:
                panel, panels = mine + at * at_once, ONE * at_once
            elif panel == whole:
                width, vectors = last_width(f.units, ONE * gates, ONE * LANES), last
            # A little at a time, as a core can wait for few lines at once.
            begin, end = lines * item // items, lines * (item + 1) // items
            first = ZERO
            for part in range(parts):
                count = least + (1 if part < more else 0)
                which = 4 * (count - 1) + vectors - 1 if panels == 1 else ONE * wide_tile
                jump = onwards + 64 * part if part < fetched and item + 1 < items else ZERO
                visit(f, w, cell, Tile(which, first, count, panel, panels, width, vectors, jump))
                for slot in range(first, first + count):
                    for line in range(begin, end):
                        prefetch(load_int(w.ahead, slot) + ahead + 64 * line)
                first += count

    return sweep


@cache
def projector(gates: int) -> Callable[..., None]:
    """A function that computes bias + x @ kernel as panel-ordered rows, for rows of x at any addresses."""
    whole_vectors = packing.panel_vectors(gates)
    block = packing.block_units(gates, LANES)
    at_once = WIDE[whole_vectors]
    panel_bytes = 4 * LANES * whole_vectors
    panel_lines = (panel_bytes + 63) // 64

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
        for panel in range(mine, theirs + (1 if last else 0)):
            vectors = whole_vectors if panel < whole else last
            offset = 4 * LANES * whole_vectors * panel
            onwards = ZERO if (panel + 1) * block >= units else ONE * panel_bytes
            first = ZERO
            for part in range(parts):
                rows = least + (1 if part < more else 0)
                tile(
                    4 * (rows - 1) + vectors - 1, y + first * y_row + offset, y_row, bias, offset,
                    pairs + 8 * first, kernel + offset * features, features, pairs, 0, 0,
                    onwards + 64 * part if part < panel_lines else ZERO,
                )  # fmt: skip
                first += rows

    return project


@cache
def columns_of(gates: int) -> Callable[[int], int]:
    """A function units -> floats in a panel-ordered row."""
    block, vectors = packing.block_units(gates, LANES), packing.panel_vectors(gates)

    @compiled
    def columns(units: int) -> int:
        return (units // block * vectors + last_vectors(units, ONE * gates, ONE * LANES)) * LANES

    return columns
