"""A sweep: one pass over all panels of a step's weights, and for each of them over the rows in tiles.

Panels are taken forwards and backwards in turn from step to step, so that what the caches still hold is used first. Where several
threads compute together, each has its share of the panels. Meanwhile a sweep has the caches fetch what comes next: the following
panel, where weights are too many for a cache, and what the rows read at the following step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from ..program.layout import AMX, AMX_AT_ONCE, AMX_COLUMNS, FULL, HALVES, LINE, LINE_BITS, block_units, panel_vectors
from . import amx
from .amx_tile import AmxOperand
from .flags import ONE, ZERO, compiled, inlined
from .layout import amx_steps, columns_in, last_vectors, last_width, panel_offset, row_vectors
from .memory import load_int, prefetch, widen
from .target import LANES, VECTOR
from .tile import ROWS, WIDE, Operand, Product, number, tile, wide_number

#: Weights of more bytes than a second cache keeps are streamed: each panel is fetched into it while the one before is used.
STREAMED = 1 << 19

#: A panel of bfloat16 that so many tiles of rows are multiplied with is widened once for all of them, rather than by each. Measured: at
#: half as many it costs large layers a fifth, and never widened 64 rows lose a tenth.
MANY_PARTS = 6


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
def lines_of(weights: int, members: int, parts: int, panel: int) -> int:
    """How many lines of the next panel a tile fetches for every two k; 0: a cache keeps a member's share of so many bytes of weights.

    A panel has ``panel`` bytes for each k, and so many parts of the rows share it. At a line for every k the fetches wait for each
    other, and with them what reads the weights of this panel: where the parts are enough, each fetches a line for every second k.
    """
    if weights <= STREAMED * max(members, 1):
        return 0
    # Enough: at a line for every two k, three quarters of the panel.
    return 1 if 4 * (LINE // 2) * parts >= 3 * panel else 2


@compiled
def fetched_by(part: int, following: int, lines: int, panel: int) -> int:
    """The share of one part's tile in the next panel, which begins ``following`` bytes for each k from this one: where the share
    begins, in bytes for each k, and the number of lines in the low bits.

    A part that has no share, or whose next panel does not come (``following`` is 0), fetches from its own panel, which is there.
    """
    begin = LINE // 2 * lines * part
    return following + begin + lines if following and begin < panel else lines


class Tile(NamedTuple):
    """One visit of a cell: what it is to compute, and to fetch meanwhile."""

    which: int  # number of the tile; of AMX, of its first tile of rows
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
    form: int  # of the weights
    height: int  # rows of a tile of AMX
    inputs_at: int  # the panel of the inputs' weights, and that of the states', where they are widened; 0: where the weights are
    states_at: int


@inlined
def fetch(t: Tile, n: int) -> None:
    """Have the second cache fetch what row n of a tile, if there is one, reads at the next step: as much as is this tile's share."""
    if n < t.rows:
        row = load_int(t.ahead, n)
        for line in range(t.begin, t.end):
            prefetch(row + LINE * line)


# -- sweeps -----------------------------------------------------------------------------------------------------------------------


@inlined
def usual_weights(f: Any) -> tuple[int, int]:
    """The weights of a cell with one product: of inputs, and of states."""
    return f.kernel, f.recurrent


class Course(NamedTuple):
    """What a member has to do in a sweep over so many rows, and how: the same at every step that has them."""

    rows: int
    items: int  # panels, or groups of them
    scale: int  # two to it are the items, or fewer: a division by them would be a good part of one row's step
    groups: int  # so many of the items, the first ones, are several panels at once
    first: int  # panel of the first item
    last: int  # vectors in a row of the narrow panel, if that is the member's; else 0
    parts: Parts  # of the rows
    height: int  # rows of a tile of AMX; 0: in registers
    panel_row: int  # bytes of a panel-ordered row that a whole panel takes
    form: int  # of the weights, as tiles read them
    widening: bool  # each panel is widened first
    panel_size: int  # bytes of a whole panel for each k, as its weights are stored
    lines: int  # of the next panel that a tile fetches


@cache
def courses(gates: int) -> Callable[..., Course]:
    """A function of a kernel's struct and a number of rows: how they are swept over."""
    whole_vectors, block = panel_vectors(gates), block_units(gates, LANES)
    at_once, most, panel_bytes = WIDE[whole_vectors], ROWS[whole_vectors], VECTOR * whole_vectors

    @compiled
    def course(f, rows):
        mine, theirs = share(f.units // block, ONE * at_once, f.member, f.members)
        groups = (theirs - mine) // at_once if rows == 1 and f.form < AMX else 0
        # The narrow one is the last member's.
        last = last_vectors(f.units, ONE * gates, ONE * LANES) if f.member + 1 >= f.members else 0
        parts, height, panel_row = parts_of(rows, ONE * most), ZERO, ONE * panel_bytes
        if f.form >= AMX:
            tiling = amx.tiling_of(rows)
            height, panel_row = tiling.height, VECTOR * row_vectors(ONE * whole_vectors, ONE * LANES, f.form)
            parts = Parts((tiling.count + AMX_AT_ONCE - 1) // AMX_AT_ONCE, AMX_AT_ONCE * height, ZERO)
        widening = f.form == HALVES and parts.count >= MANY_PARTS
        panel_size = ONE * panel_bytes >> f.form
        weights = 4 * gates * ((ZERO if f.table else f.features) + f.units) * f.units >> f.form
        lines = lines_of(weights, f.members, parts.count, panel_size)
        items, scale = theirs - mine - groups * (at_once - 1) + (1 if last else 0), ZERO
        while 2 << scale <= items:
            scale += 1
        form = ONE * FULL if widening else f.form
        return Course(rows, items, scale, groups, mine, last, parts, height, panel_row, form, widening, panel_size, lines)

    return course


def _widener(weights: Callable[[Any], tuple[int, int]]) -> Callable[..., None]:
    """A function that widens a panel of weights that are HALVES."""

    @compiled
    def widen_panel(f, w, features, panel, vectors):
        kernel, recurrent = weights(f)
        of_inputs, of_states = vectors * LANES * features, vectors * LANES * f.units
        widen(w.widened, kernel + (panel * features >> HALVES), of_inputs)
        widen(w.widened + 4 * of_inputs, recurrent + (panel * f.units >> HALVES), of_states)

    return widen_panel


def sweeper(gates: int, visit: Callable[..., None], weights: Callable[[Any], tuple[int, int]] = usual_weights) -> Callable[..., None]:
    """A function that takes the panels one after another, and for each the rows in tiles.

    ``visit(f, w, step, tile)`` computes one, and fetches meanwhile what the tile says; ``weights(f)`` are those that it multiplies with.
    """
    in_full, in_any_form = (_sweep_of(gates, visit, weights, full) for full in (True, False))

    @inlined
    def sweep(f, w, step, c, ahead, size):
        """``c``: a :class:`Course`; ``ahead``, ``size``: which bytes at the slots' addresses ``w.next_at`` are fetched meanwhile."""
        if f.form == FULL:
            in_full(f, w, step, c, ahead, size)
        else:
            in_any_form(f, w, step, c, ahead, size)

    return sweep


def _sweep_of(gates: int, visit: Callable[..., None], weights: Callable[[Any], tuple[int, int]], full: bool) -> Callable[..., None]:
    """A sweep over weights that are FULL, or of any form: one row's small step is so short that looking for its form takes time."""
    whole_vectors, block = panel_vectors(gates), block_units(gates, LANES)
    whole_width, at_once, panel_bytes = block if gates == 1 else LANES, WIDE[whole_vectors], VECTOR * whole_vectors
    widen_panel = _widener(weights)

    @inlined
    def sweep(f, w, step, c, ahead, size):
        height, widening, form = (ZERO, False, ONE * FULL) if full else (c.height, c.widening, c.form)
        panel_row, panel_size = (ONE * panel_bytes, ONE * panel_bytes) if full else (c.panel_row, c.panel_size)
        if height:
            amx.shape_for(f, w, height)
        backwards = step.number & 1
        end, last_line = ahead >> LINE_BITS, (ahead + size + LINE - 1) >> LINE_BITS
        # With each item so many lines, or somewhat more: a core can wait for few at once.
        each = (last_line - end + (1 << c.scale) - 1) >> c.scale
        onwards = -panel_size if backwards else panel_size
        for item in range(c.items):
            at = c.items - 1 - item if backwards else item
            panel, panels, width, vectors = c.first + at + c.groups * (at_once - 1), ONE, ONE * whole_width, ONE * whole_vectors
            if at < c.groups:
                panel, panels = c.first + at * at_once, ONE * at_once
            elif panel == f.units // block:
                width, vectors = last_width(f.units, ONE * gates, ONE * LANES), c.last
            begin, end = end, min(end + each, last_line)
            inputs_at, states_at = ZERO, ZERO
            if widening:
                widen_panel(f, w, step.features, panel * panel_row, vectors)
                inputs_at, states_at = w.widened, w.widened + VECTOR * vectors * step.features
            following = ZERO if widening or item + 1 == c.items else onwards
            first = ZERO
            for part in range(c.parts.count):
                # By names, as Numba takes no conditions among so many arguments.
                count = min(c.rows - first, c.parts.least) if height else rows_of(c.parts, part)
                which = number(form, count, vectors) if panels == 1 else wide_number(form, ONE * whole_vectors)
                row, fetched = VECTOR * vectors * panels, fetched_by(part, following, c.lines, panel_size)
                if height:
                    which, row = AMX_AT_ONCE * part, VECTOR * row_vectors(vectors, ONE * LANES, form)
                unit, next_at = panel * (4 * block), w.next_at + 8 * first
                t = Tile(
                    which=which, first=first, rows=count, panels=panels, width=width, vectors=vectors, panel=panel * panel_row, unit=unit,
                    row=row, fetched=fetched, ahead=next_at, begin=begin, end=end, form=form, height=height, inputs_at=inputs_at,
                    states_at=states_at,
                )  # fmt: skip
                visit(f, w, step, t)
                first += count

    return sweep


@compiled
def _multiply_by_amx(t, result, sums_at, one, other):
    tiles = (t.rows + t.height - 1) // t.height if t.rows > t.height else ONE
    place = amx.Place(t.form, t.which, tiles, t.rows, t.height, t.row // (4 * AMX_COLUMNS))
    amx.product(place, result, t.row, sums_at, t.panel, _of_panel(t, one), _of_panel(t, other))


@inlined
def _of_panel(t, operand):
    return AmxOperand(operand.rows, operand.weights + panel_offset(t.form, t.panel, operand.size), amx_steps(operand.size))


@inlined
def _panel_at(t, widened, operand):
    return widened if widened else operand.weights + (t.panel * operand.size >> t.form)


@inlined
def multiply(t: Tile, result: int, sums_at: int, one: Operand, other: Operand) -> None:
    """Store sums + one + other for the rows and panels of a visit: one of inputs, the other of states.

    The operands' rows and ``sums_at`` are tables of all slots' addresses, their weights all panels. Of AMX the rows are tiles.
    """
    at = 8 * t.first
    if t.form >= AMX:
        _multiply_by_amx(t, result, sums_at + at, one, other)
        return
    tile(
        t.which,
        Product(
            result=result,
            result_row=t.row,
            sums=sums_at + at,
            sums_offset=t.panel,
            first=Operand(one.rows + at, _panel_at(t, t.inputs_at, one), one.size),
            second=Operand(other.rows + at, _panel_at(t, t.states_at, other), other.size),
            fetched=t.fetched,
        ),
    )


def _projector_by_amx(gates: int) -> Callable[..., None]:
    whole_vectors, block = panel_vectors(gates), block_units(gates, LANES)
    at_once = WIDE[whole_vectors]

    @compiled
    def by_amx(f, w, x, count, kernel, bias, y, y_row):
        tiling, size = amx.tiling_of(count), f.features
        amx.shape_for(f, w, tiling.height)
        amx.prepare(f, count, w.pairs_amx, x, size)
        whole = f.units // block
        # As sweeps share them: each member reads what it has projected itself.
        mine, theirs = share(whole, ONE * at_once, f.member, f.members)
        last = last_vectors(f.units, ONE * gates, ONE * LANES) if f.member + 1 >= f.members else 0
        panel_row = VECTOR * row_vectors(ONE * whole_vectors, ONE * LANES, f.form)
        for panel in range(mine, theirs + (1 if last else 0)):
            offset = panel * panel_row
            vectors = row_vectors(ONE * whole_vectors if panel < whole else last, ONE * LANES, f.form)
            weights = AmxOperand(w.pairs_amx, kernel + panel_offset(f.form, offset, size), amx_steps(size))
            for tile_number in range(0, tiling.count, AMX_AT_ONCE):
                first = tile_number * tiling.height
                place = amx.Place(
                    form=f.form,
                    tile=tile_number,
                    tiles=min(tiling.count - tile_number, ONE * AMX_AT_ONCE),
                    rows=ONE,  # of one bias
                    height=tiling.height,
                    columns=VECTOR * vectors // (4 * AMX_COLUMNS),
                )
                amx.product(place, y + first * y_row + offset, y_row, bias, offset, weights, AmxOperand(w.pairs_amx, ZERO, ZERO))

    return by_amx


def _projector_in_registers(gates: int) -> Callable[..., None]:
    whole_vectors, block = panel_vectors(gates), block_units(gates, LANES)
    at_once, most, panel_bytes = WIDE[whole_vectors], ROWS[whole_vectors], VECTOR * whole_vectors

    @compiled
    def in_registers(f, w, x, count, kernel, bias, y, y_row):
        features, units = f.features, f.units
        whole = units // block
        mine, theirs = share(whole, ONE * at_once, f.member, f.members)
        last = last_vectors(units, ONE * gates, ONE * LANES) if f.member + 1 >= f.members else 0
        parts = parts_of(count, ONE * most)
        widening = f.form == HALVES and parts.count >= MANY_PARTS
        form = ONE * FULL if widening else f.form
        panel_size = ONE * panel_bytes >> f.form  # in bytes of the weights
        lines = lines_of(4 * gates * features * units >> f.form, f.members, parts.count, panel_size)
        for panel in range(mine, theirs + (1 if last else 0)):
            vectors = whole_vectors if panel < whole else last
            offset = panel_bytes * panel
            following = ZERO if widening or (panel + 1) * block >= units else panel_size
            weights = kernel + (offset * features >> f.form)
            if widening:
                widen(w.widened, weights, vectors * LANES * features)
                weights = w.widened
            first = ZERO
            for part in range(parts.count):
                rows = rows_of(parts, part)
                tile(
                    number(form, rows, vectors),
                    Product(
                        result=y + first * y_row + offset,
                        result_row=y_row,
                        sums=bias,
                        sums_offset=offset,
                        first=Operand(x + 8 * first, weights, features),
                        second=Operand(x, ZERO, ZERO),
                        fetched=fetched_by(part, following, lines, panel_size),
                    ),
                )
                first += rows

    return in_registers


@cache
def projector(gates: int) -> Callable[..., None]:
    """A function that computes bias + x @ kernel as panel-ordered rows, for rows of x at any addresses."""
    by_amx, in_registers = _projector_by_amx(gates), _projector_in_registers(gates)

    @compiled
    def project(f, w, x, count, kernel, bias, y, y_row):
        """``x``: addresses of the rows of x; ``bias``: addresses of the bias, for each row of a tile; ``y_row``: bytes."""
        if f.form >= AMX:
            by_amx(f, w, x, count, kernel, bias, y, y_row)
        else:
            in_registers(f, w, x, count, kernel, bias, y, y_row)

    return project


@cache
def columns_of(gates: int) -> Callable[[Any], int]:
    """A function of a kernel's struct: floats in a panel-ordered row."""

    @compiled
    def floats(f):
        return columns_in(f.form, f.units, ONE * gates, ONE * LANES)

    return floats
