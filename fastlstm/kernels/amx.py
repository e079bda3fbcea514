"""Products by AMX: rows of float32 brought into its tiles, tiles shaped for so many rows, and the visits of a sweep."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..program.layout import AMX, AMX_BYTES, AMX_COLUMNS, AMX_CONFIGURATION, AMX_DEPTH, AMX_ROWS, LARGEST_HALF, SPLIT, Work
from .amx_tile import AmxOperand, AmxProduct, amx_number, amx_product, configure, release
from .elementary import at_least, at_most
from .flags import ONE, ZERO, compiled, inlined
from .layout import amx_steps, row_parts
from .memory import clear, copy, load, load_byte, load_first, load_int, store_byte, store_halves
from .target import LANES
from .vector import INFINITY, bits, from_bits, select, splat

_REST = 0x7FFF


@inlined
def rounded(x: Any) -> Any:
    """Floats as the nearest bfloat16, of two the even one, in the upper halves of their bits; what is in the lower ones says nothing."""
    size = from_bits(bits(x) & 0x7FFFFFFF)
    x = select(size < INFINITY, at_least(at_most(x, LARGEST_HALF), -LARGEST_HALF), x)
    n = bits(x)
    even = (n >> 16) & 1
    return select(x == x, from_bits(n + even + _REST), from_bits(n) + x)


@inlined
def upper(x: Any) -> Any:
    """Floats of the upper halves of their bits."""
    return from_bits(bits(x) & -65536)


# -- rows -----------------------------------------------------------------------------------------------------------------------


class Tiling(NamedTuple):
    """Rows divided up among tiles, as evenly as can be: all but the last have as many."""

    count: int
    height: int  # rows of a tile


@inlined
def tiling_of(rows: int) -> Tiling:
    """The fewest tiles of so many rows."""
    if rows <= AMX_ROWS:
        return Tiling(ONE, rows)
    count = (rows + AMX_ROWS - 1) // AMX_ROWS
    return Tiling(count, (rows + count - 1) // count)


@inlined
def _store_parts(form, tile, place, v):
    high = rounded(v)
    store_halves(tile, place, high)
    if form == SPLIT:
        first = upper(high)
        finite = from_bits(bits(v) & 0x7FFFFFFF) < INFINITY
        # Of an infinity the rest is nothing, and it must not meet the second part of a weight, whose sign may be another.
        store_halves(tile + AMX_BYTES, place, rounded(select(finite, v - first, 0.0)))
        store_halves(tile + 2 * AMX_BYTES, place, select(finite, first, 0.0))


@compiled
def _bring(form: int, tile: int, next_tile: int, x: int, size: int) -> None:
    """Bring a row into its place in a tile, and in those that follow along k; zeros after its end."""
    left = size
    while left > 0:
        for i in range(0, AMX_DEPTH, LANES):
            if left >= LANES:
                v = load(x, size - left)
            elif left > 0:
                v = load_first(x, size - left, left, 0.0)
            else:
                v = splat(0.0)
            _store_parts(form, tile, i, v)
            left -= LANES
        tile += next_tile


@compiled
def bring_rows(form: int, tiles: int, tiling: Tiling, rows_at: int, rows: int, size: int) -> None:
    """Bring rows, whose addresses are in a table, into tiles: tiles of rows, in each those along k, in each the parts."""
    next_tile = AMX_BYTES * row_parts(form)
    tile, place, row_of_tiles = tiles, ZERO, amx_steps(size) * next_tile
    for slot in range(rows):
        _bring(form, tile + 4 * AMX_COLUMNS * place, next_tile, load_int(rows_at, slot), size)
        place += 1
        if place == tiling.height:
            tile, place = tile + row_of_tiles, ZERO


# -- the shapes of tiles ----------------------------------------------------------------------------------------------------------

#: In what configures tiles: the place of the bytes of a row, 16 bits for each tile, and that of the rows, 8 bits each.
_ROW_BYTES, _ROWS = 16, 48
#: Accumulators and A have the rows of the batch, B those of k.
_OF_ROWS, _TILES = 6, 8


@compiled
def unshaped(configuration: int) -> None:
    """Nothing is known of the tiles' shapes."""
    clear(configuration, ONE * (AMX_CONFIGURATION // 4))


@compiled
def shape(configuration: int, height: int) -> None:
    """Shape this thread's tiles for so many rows, unless they are."""
    if load_byte(configuration, _ROWS) == height:
        return
    clear(configuration, ONE * (AMX_CONFIGURATION // 4))
    store_byte(configuration, ZERO, ONE)
    for tile in range(_TILES):
        store_byte(configuration, _ROW_BYTES + 2 * tile, ONE * (4 * AMX_COLUMNS))
        store_byte(configuration, _ROWS + tile, height if tile < _OF_ROWS else ONE * AMX_ROWS)
    configure(configuration)


@compiled
def shape_for(f: Any, w: Work, height: int) -> None:
    """The same for a recurrent kernel."""
    if f.members > 1:
        # Members have met since, and whoever waits runs the caller's signal handlers, which may have given up the tiles.
        unshaped(w.amx_configuration)
    shape(w.amx_configuration, height)


@compiled
def released(f: Any) -> None:
    """At the end of a call the system need not keep the tiles of this thread any longer."""
    if f.form >= AMX:
        release()


# -- products -----------------------------------------------------------------------------------------------------------------------


@compiled
def alike(table: int, rows: int) -> bool:
    """Are all addresses in a table the same?"""
    first = load_int(table, ZERO)
    for n in range(1, rows):  # noqa: SIM110 - Numba compiles no generators
        if load_int(table, n) != first:
            return False
    return True


class Place(NamedTuple):
    """What a product is of: its weights' form, and the tiles of rows and of columns."""

    form: int
    tile: int  # number of the first tile of rows
    tiles: int
    rows: int
    height: int  # rows of a tile
    columns: int  # tiles of the panel


@compiled
def product(place: Place, result: int, row: int, sums_at: int, offset: int, one: AmxOperand, other: AmxOperand) -> None:
    """Store sums + one + other for the rows of one or two tiles and a panel.

    ``row``: bytes from one row of the result to the next; ``sums_at``: a table of the addresses that ``offset`` is to be added to, of what
    each row's sums start from. Operands: their rows in tiles, all of them; their weights, this panel's.
    """
    sums, sums_row = load_int(sums_at, ZERO) + offset, ZERO
    if not alike(sums_at, place.rows):
        for n in range(place.rows):
            copy(result + n * row, load_int(sums_at, n) + offset, place.columns * AMX_COLUMNS)
        sums, sums_row = result, row
    before = place.tile * AMX_BYTES * row_parts(place.form)
    amx_product(
        amx_number(place.form, place.tiles, place.columns),
        AmxProduct(
            result=result,
            result_row=row,
            result_tile=place.height * row,
            sums=sums,
            sums_row=sums_row,
            sums_tile=place.height * sums_row,
            first=AmxOperand(one.rows + before * one.steps, one.weights, one.steps),
            second=AmxOperand(other.rows + before * other.steps, other.weights, other.steps),
        ),
    )


@compiled
def prepare(f: Any, rows: int, tiles: int, rows_at: int, size: int) -> None:
    """Bring what a step multiplies into tiles."""
    if size > 0:
        bring_rows(f.form, tiles, tiling_of(rows), rows_at, rows, size)
