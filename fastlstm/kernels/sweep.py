"""A sweep: one pass over all panels of a step's weights, and for each of them over the rows in tiles.

Panels are taken forwards and backwards in turn from step to step, so that what the caches still hold is used first. Where several
threads compute together, each has its share of the panels. Meanwhile a sweep has the caches fetch what comes next: the following
panel, where weights are too many for a cache, and what the rows read at the following step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from ..program.layout import LINE, LINE_BITS, block_units, panel_vectors
from .flags import ONE, ZERO, compiled, inlined
from .layout import columns, last_vectors, last_width
from .memory import load_int, prefetch
from .target import LANES, VECTOR
from .tile import ROWS, WIDE, Operand, Product, number, tile, wide_number

#: Weights of more bytes than a second cache keeps are streamed: each panel is fetched into it while the one before is used.
STREAMED = 1 << 19


# -- what is divided up -----------------------------------------------------------------------------------------------------------


@compiled
def share(whole: int, at_once: int, member: int, members: int) -> tuple[int, int]:
    """The whole panels that are a member's, a multiple of so many but for the last member: from, and up to."""
    if members < 2:
        return ZERO, whole
    begin = whole * member // members // at_once * at_once
    return begin, whole if member + 1 == members else whole * (member + 1) // members // at_once * at_once


class Parts(NamedTuple):
    """Rows divided up for tiles, as evenly as can be."""

    count: int
    least: int  # rows of a part
    more: int  # so many parts, the first ones, have one row more


@inlined
def parts_of(rows: int, most: int) -> Parts:
    """The fewest parts of so many rows that have no more than ``most`` each."""
    count = (rows + most - 1) // most
    # A division would be a good part of the work for a single row.
    least = rows // count if count > 1 else rows
    return Parts(count, least, rows - least * count)


@inlined
def rows_of(parts: Parts, part: int) -> int:
    """Rows of one of the parts."""
    return parts.least + (1 if part < parts.more else 0)


# -- what is fetched meanwhile ----------------------------------------------------------------------------------------------------


@compiled
def pace_of(weights: int, members: int, parts: int, panel: int) -> int:
    """How many lines of the next panel a tile fetches for every two k; 0: the weights are so few that a cache keeps a member's.

    A panel has ``panel`` bytes for each k, and so many parts of the rows share it. At a line for every k the fetches wait for each
    other, and with them what reads the weights of this panel: where the parts are enough, each fetches a line for every second k.
    """
    if 4 * weights <= STREAMED * max(members, 1):
        return 0
    # Enough: at a line for every two k, three quarters of the panel.
    return 1 if 4 * (LINE // 2) * parts >= 3 * panel else 2


@compiled
def fetched_by(part: int, following: int, pace: int, panel: int) -> int:
    """The share of one part's tile in the next panel, which begins ``following`` bytes for each k from this one: where the share
    begins, in bytes for each k, and the pace in the low bits.

    A part that has no share, or whose next panel does not come (``following`` is 0), fetches from its own panel, which is there.
    """
    begin = LINE // 2 * pace * part
    return following + begin + pace if following and begin < panel else pace


class Tile(NamedTuple):
    """One visit of a cell: what it is to compute, and to fetch meanwhile."""

    which: int  # number of the tile
    first: int  # slot of its first row
    rows: int
    panels: int
    width: int  # columns of a gate
    vectors: int  # in a row of a panel
    panel: int  # bytes of a panel-ordered row before its first panel
    unit: int  # bytes of a row of states before its first unit
    row: int  # bytes from one row of its result to the next
    fetched: int  # of the next panel
    ahead: int  # address of the addresses of what its rows read at the next step
    begin: int  # the lines to be fetched of that: from, and up to
    end: int


@inlined
def fetch(t: Tile, n: int) -> None:
    """Have the second cache fetch what row n of a tile, if there is one, reads at the next step: as much as is this tile's share."""
    if n < t.rows:
        row = load_int(t.ahead, n)
        for line in range(t.begin, t.end):
            prefetch(row + LINE * line)


# -- sweeps -----------------------------------------------------------------------------------------------------------------------


def sweeper(gates: int, visit: Callable[..., None]) -> Callable[..., None]:
    """A function that takes the panels one after another, and for each the rows in tiles.

    ``visit(f, w, step, tile)`` computes one, and fetches meanwhile what the tile says.
    """
    whole_vectors, block = panel_vectors(gates), block_units(gates, LANES)
    whole_width = block if gates == 1 else LANES
    at_once, wide, most = WIDE[whole_vectors], wide_number(whole_vectors), ROWS[whole_vectors]
    panel_bytes, block_bytes = VECTOR * whole_vectors, 4 * block  # of a panel-ordered row, and of a row of states

    @compiled
    def sweep(f, w, step, rows, ahead, size):
        """``ahead``, ``size``: which bytes at the slots' addresses ``w.next_at`` are fetched meanwhile."""
        whole = f.units // block
        backwards = step.number & 1
        mine, theirs = share(whole, ONE * at_once, f.member, f.members)
        groups = (theirs - mine) // at_once if rows == 1 else 0
        grouped = mine + groups * at_once
        # The narrow one is the last member's.
        last = last_vectors(f.units, ONE * gates, ONE * LANES) if f.member + 1 >= f.members else 0
        items = groups + theirs - grouped + (1 if last else 0)
        parts = parts_of(rows, ONE * most)
        end, last_line = ahead >> LINE_BITS, (ahead + size + LINE - 1) >> LINE_BITS
        onwards = -ONE * panel_bytes if backwards else ONE * panel_bytes
        inputs = ZERO if f.table else f.features
        pace = pace_of(gates * (inputs + f.units) * f.units, f.members, parts.count, ONE * panel_bytes)
        # Lines are fetched a few at a time, as a core can wait for few at once: so many with each item, or somewhat more, found
        # without a division, which would be a good part of one row's step.
        scale = ZERO
        while 2 << scale <= items:
            scale += 1
        each = (last_line - end + (1 << scale) - 1) >> scale
        for item in range(items):
            at = items - 1 - item if backwards else item
            panel, panels, width, vectors = grouped + at - groups, ONE, ONE * whole_width, ONE * whole_vectors
            if at < groups:
                panel, panels = mine + at * at_once, ONE * at_once
            elif panel == whole:
                width, vectors = last_width(f.units, ONE * gates, ONE * LANES), last
            begin, end = end, min(end + each, last_line)
            first = ZERO
            for part in range(parts.count):
                count = rows_of(parts, part)
                t = Tile(
                    which=number(count, vectors) if panels == 1 else ONE * wide,
                    first=first,
                    rows=count,
                    panels=panels,
                    width=width,
                    vectors=vectors,
                    panel=panel * panel_bytes,
                    unit=panel * block_bytes,
                    row=VECTOR * vectors * panels,
                    fetched=fetched_by(part, ZERO if item + 1 == items else onwards, pace, ONE * panel_bytes),
                    ahead=w.next_at + 8 * first,
                    begin=begin,
                    end=end,
                )
                visit(f, w, step, t)
                first += count

    return sweep


@inlined
def multiply(t: Tile, result: int, sums_at: int, one: Operand, other: Operand) -> None:
    """Store sums + one + other for the rows and panels of a visit.

    The operands' rows and ``sums_at`` are tables of all slots' addresses, their weights all panels.
    """
    at = 8 * t.first
    tile(
        t.which,
        Product(
            result=result,
            result_row=t.row,
            sums=sums_at + at,
            sums_offset=t.panel,
            first=Operand(one.rows + at, one.weights + t.panel * one.size, one.size),
            second=Operand(other.rows + at, other.weights + t.panel * other.size, other.size),
            fetched=t.fetched,
        ),
    )


@cache
def projector(gates: int) -> Callable[..., None]:
    """A function that computes bias + x @ kernel as panel-ordered rows, for rows of x at any addresses."""
    whole_vectors, block = panel_vectors(gates), block_units(gates, LANES)
    at_once, most, panel_bytes = WIDE[whole_vectors], ROWS[whole_vectors], VECTOR * whole_vectors

    @compiled
    def project(f, x, count, kernel, bias, y, y_row):
        """``x``: addresses of the rows of x; ``bias``: addresses of the bias, for each row of a tile; ``y_row``: bytes."""
        features, units = f.features, f.units
        whole = units // block
        mine, theirs = share(whole, ONE * at_once, f.member, f.members)
        last = last_vectors(units, ONE * gates, ONE * LANES) if f.member + 1 >= f.members else 0
        parts = parts_of(count, ONE * most)
        pace = pace_of(gates * features * units, f.members, parts.count, ONE * panel_bytes)
        for panel in range(mine, theirs + (1 if last else 0)):
            vectors = whole_vectors if panel < whole else last
            offset = panel_bytes * panel
            following = ZERO if (panel + 1) * block >= units else ONE * panel_bytes
            first = ZERO
            for part in range(parts.count):
                rows = rows_of(parts, part)
                tile(
                    number(rows, vectors),
                    Product(
                        result=y + first * y_row + offset,
                        result_row=y_row,
                        sums=bias,
                        sums_offset=offset,
                        first=Operand(x + 8 * first, kernel + offset * features, features),
                        second=Operand(x, ZERO, ZERO),
                        fetched=fetched_by(part, following, pace, ONE * panel_bytes),
                    ),
                )
                first += rows

    return project


@cache
def columns_of(gates: int) -> Callable[[int], int]:
    """A function units -> floats in a panel-ordered row."""

    @compiled
    def floats(units):
        return columns(units, ONE * gates, ONE * LANES)

    return floats
