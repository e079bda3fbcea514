"""What all recurrent kernels share: sequences compressed to their valid steps, the order of work, and what is emitted.

A row's valid steps are listed in the order of processing, and rows sorted by how many they have. At compressed step s only
the rows that have so many are computed: a prefix, of which each row reads the timestep that its own list names.
"""

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
from .vector import (
    load,
    load_byte,
    load_first,
    load_int,
    load_int32,
    load_one,
    load_pair,
    prefetch,
    splat,
    store,
    store_first,
    store_int,
    store_int32,
    store_one,
    store_pair,
)

compiled = njit(error_model="numpy")
last_width, last_vectors = compiled(packing.last_width), compiled(packing.last_vectors)
padded_units, state_row = compiled(packing.padded_units), compiled(packing.state_row)
chunk_rows = compiled(packing.chunk_rows)

#: Fields that every recurrent kernel has, in the order of the struct. Strides are in elements.
FIELDS = (
    "rows", "steps", "features", "units",
    "x", "x_row", "x_step",  # float32 (rows, steps, features)
    "ids", "ids_row",  # int32 (rows, steps), or 0: x has a step of features (of stride x_step) for each id
    "table",  # instead of x: the pre-activations of each id, bias included
    "mask", "mask_row",  # uint8 (rows, steps), or 0: every step is valid
    "reverse",  # 1: from the last step to the first
    "kernel", "recurrent", "bias",  # packed
    "activation", "recurrent_activation",  # codes
    "h0", "h0_row",  # state to start from, or 0: zeros
    "y", "y_row", "y_step", "y_time_order",  # output of every step, or 0; 1: step t in place t even in reverse
    "last", "last_row",  # output of the step processed last, or 0
    "h_out", "out_row",  # final state, or 0; may be where h0 is
    "fill",  # output of masked steps: 0 the previous one, 1 zeros
    "head",  # with fill 0, before the first valid step: 0 zeros, 1 the initial state
    "scratch",
    # Of some cells only. All cells have one struct, so that what they share is compiled once.
    "c0", "c_out",  # lstm: rows as those of h0 and h_out
    "recurrent_bias",  # gru
    "kernel_h", "recurrent_h", "bias_h",  # gru_before: of the candidate; the others are of z and r
)  # fmt: skip

#: Numba compiles a function anew for every argument that is a literal; these are not.
ZERO, ONE = np.int64(0), np.int64(1)

#: Vectors that the result of a tile may have: as many as rows times panels' vectors, or those of one row and several panels.
TILE_VECTORS = max(4 * TILE_ROWS, max(vectors * panels for vectors, panels in WIDE.items()))

#: A chunk of timesteps is projected ahead only where that is worth the detour.
FEW_FEATURES = 8

#: From so many features on, and enough rows, those of a step are gathered before they are multiplied: every panel of weights reads
#: them anew, and rows at the distance of a whole sequence compete for few places in the caches.
GATHERED_FEATURES = 32


class Work(NamedTuple):
    """Where things are in scratch: addresses."""

    h_even: int  # state before even compressed steps, one padded row for each slot (place of a row in sorted order)
    h_odd: int
    extra: int  # two more such blocks for what else a cell keeps
    extra2: int
    row: int  # bytes from slot to slot in these four
    inputs: int  # the inputs of the current step, where they are gathered
    input_row: int  # bytes from slot to slot in it
    index: int  # int32 (rows, steps): the valid steps of each row
    order: int  # int64: row of each slot
    count: int  # int64: valid steps of each slot
    x: int  # addresses of each slot's input at the current step
    ahead: int  # addresses of what each slot reads at the next step: input, or row of the table
    z: int  # addresses of each slot's pre-activations so far: bias, table row, or projection
    z2: int  # the same for a cell's second part
    states: int  # addresses of each slot in h_even, below in h_odd and in extra2
    states2: int
    states3: int
    pairs: int  # addresses of the inputs of the (slot, step) pairs of a chunk
    chunk: int  # their projections
    tile: int  # result of a tile
    tile2: int
    biases: int  # address of the bias, once for each row of a tile
    biases2: int  # the same for a cell's second part


@compiled
def _after(address: int, size: int) -> int:
    return (address + size + 63) & ~63


@compiled
def lay_out(scratch: int, rows: int, features: int, steps: int, units: int, columns: int) -> Work:
    """Divide up scratch; packing.recurrent_scratch is how much it takes."""
    row = 4 * state_row(units, LANES)
    chunk_size = chunk_rows(columns)
    h_even = _after(scratch, ZERO)
    h_odd = _after(h_even, rows * row)
    extra = _after(h_odd, rows * row)
    extra2 = _after(extra, rows * row)
    inputs = _after(extra2, rows * row)
    input_row = 4 * state_row(features, LANES)
    index = _after(inputs, rows * input_row)
    order = _after(index, 4 * rows * steps)
    count = _after(order, 8 * rows)
    x = _after(count, 8 * rows)
    ahead = _after(x, 8 * rows)
    z = _after(ahead, 8 * rows)
    z2 = _after(z, 8 * rows)
    states = _after(z2, 8 * rows)
    states2 = _after(states, 8 * rows)
    states3 = _after(states2, 8 * rows)
    pairs = _after(states3, 8 * rows)
    tile_result = _after(pairs, 8 * chunk_size)
    # Gates are read a whole vector at a time, also where the last block is narrower: up to a vector behind a row.
    tile2 = _after(tile_result, TILE_VECTORS * 4 * LANES + 4 * LANES)
    biases = _after(tile2, TILE_VECTORS * 4 * LANES + 4 * LANES)
    biases2 = _after(biases, 8 * TILE_ROWS)
    chunk = _after(biases2, 8 * TILE_ROWS)
    return Work(
        h_even, h_odd, extra, extra2, row, inputs, input_row, index, order, count, x, ahead, z, z2, states, states2, states3, pairs, chunk,
        tile_result, tile2, biases, biases2,
    )  # fmt: skip


@compiled
def copy(y: int, x: int, size: int) -> None:
    """Copy floats."""
    whole = size & -LANES
    for i in range(0, whole, LANES):
        store(y, i, load(x, i))
    if whole < size:
        store_first(y, whole, load_first(x, whole, size - whole, 0.0), size - whole)


@compiled
def clear(y: int, size: int) -> None:
    """Store zeros."""
    whole = size & -LANES
    for i in range(0, whole, LANES):
        store(y, i, splat(0.0))
    if whole < size:
        store_first(y, whole, splat(0.0), size - whole)


@compiled
def fill_addresses(table: int, count: int, address: int, step: int) -> None:
    """Store ``count`` addresses, ``step`` bytes apart."""
    for i in range(count):
        store_int(table, i, address + i * step)


@compiled
def compress(f: Any, w: Work) -> None:
    """List every row's valid steps, and sort the rows by their number, most first, equal ones in their order."""
    rows, steps = f.rows, f.steps
    for r in range(rows):
        index, mask = w.index + 4 * r * steps, f.mask + r * f.mask_row
        n = 0
        for p in range(steps):
            t = steps - 1 - p if f.reverse else p
            if f.mask == 0 or load_byte(mask, t) != 0:
                store_int32(index, n, t)
                n += 1
        store_int(w.x, r, n)  # unsorted: w.x is free until the first step
    if f.mask == 0:
        for r in range(rows):
            store_int(w.order, r, r)
            store_int(w.count, r, steps)
        return
    bins = w.chunk  # free until the first chunk
    for n in range(steps + 2):
        store_int(bins, n, 0)
    for r in range(rows):
        place = steps - load_int(w.x, r) + 1
        store_int(bins, place, load_int(bins, place) + 1)
    for n in range(steps + 1):
        store_int(bins, n + 1, load_int(bins, n + 1) + load_int(bins, n))
    for r in range(rows):
        n = load_int(w.x, r)
        slot = load_int(bins, steps - n)
        store_int(bins, steps - n, slot + 1)
        store_int(w.order, slot, r)
        store_int(w.count, slot, n)


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
        groups = whole // at_once if rows == 1 else 0
        grouped = groups * at_once
        singles = whole - grouped
        last = last_vectors(f.units, ONE * gates, ONE * LANES)
        items = groups + singles + (1 if last else 0)
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
                panel, panels = at * at_once, ONE * at_once
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
    panel_bytes = 4 * LANES * whole_vectors
    panel_lines = (panel_bytes + 63) // 64

    @compiled
    def project(pairs, count, features, units, kernel, bias, y, y_row):  # type: ignore[no-untyped-def]
        """``pairs``: addresses of the rows of x; ``bias``: addresses of the bias, for each row of a tile; ``y_row``: bytes."""
        whole = units // block
        last = last_vectors(units, ONE * gates, ONE * LANES)
        parts = (count + TILE_ROWS - 1) // TILE_ROWS
        least = count // parts
        more = count - least * parts
        for panel in range(whole + (1 if last else 0)):
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


@compiled
def start_addresses(f: Any, w: Work) -> None:
    """The addresses that stay the same for all steps."""
    fill_addresses(w.states, f.rows, w.h_even, w.row)
    fill_addresses(w.states2, f.rows, w.h_odd, w.row)
    fill_addresses(w.states3, f.rows, w.extra2, w.row)
    fill_addresses(w.biases, ONE * TILE_ROWS, f.bias, ZERO)


@compiled
def _input_address(f: Any, w: Work, slot: int, s: int) -> int:
    row = load_int(w.order, slot)
    t = load_int32(w.index, row * f.steps + s)
    if f.ids:
        return f.x + 4 * load_int32(f.ids, row * f.ids_row + t) * f.x_step
    return f.x + 4 * (row * f.x_row + t * f.x_step)


@compiled
def _table_row(f: Any, w: Work, slot: int, s: int, row_size: int) -> int:
    row = load_int(w.order, slot)
    return f.table + row_size * load_int32(f.ids, row * f.ids_row + load_int32(w.index, row * f.steps + s))


@compiled
def _emit(f: Any, w: Work, rows: int, s: int, h: int) -> None:
    """Copy the states after compressed step s to y."""
    for slot in range(rows):
        row = load_int(w.order, slot)
        t = load_int32(w.index, row * f.steps + s)
        if f.reverse and not f.y_time_order:
            t = f.steps - 1 - t
        copy(f.y + 4 * (row * f.y_row + t * f.y_step), h + slot * w.row, f.units)


@compiled
def _fill_masked(f: Any, w: Work) -> None:
    """Write the outputs of masked steps."""
    for slot in range(f.rows):
        if load_int(w.count, slot) == f.steps:
            continue
        row = load_int(w.order, slot)
        y = f.y + 4 * row * f.y_row
        previous = 0
        if f.head and f.h0:
            previous = f.h0 + 4 * row * f.h0_row
        for p in range(f.steps):
            t = f.steps - 1 - p if f.reverse else p
            place = y + 4 * (t if f.y_time_order else p) * f.y_step
            if load_byte(f.mask, row * f.mask_row + t) == 0:
                if f.fill or previous == 0:
                    clear(place, f.units)
                else:
                    copy(place, previous, f.units)
            else:
                previous = place


@compiled
def _final(f: Any, w: Work) -> None:
    """Write the last outputs and the final states."""
    for slot in range(f.rows):
        row, count = load_int(w.order, slot), load_int(w.count, slot)
        h = (w.h_odd if count & 1 else w.h_even) + slot * w.row
        if f.last:
            masked = f.mask != 0 and f.fill != 0 and load_byte(f.mask, row * f.mask_row + (0 if f.reverse else f.steps - 1)) == 0
            if masked or (count == 0 and not (f.head and f.h0)):
                clear(f.last + 4 * row * f.last_row, f.units)
            else:
                copy(f.last + 4 * row * f.last_row, h, f.units)
        if f.h_out:
            copy(f.h_out + 4 * row * f.out_row, h, f.units)


@compiled
def states_in(f: Any, w: Work, to: int, given: int) -> None:
    """Copy initial states to the rows' slots; zeros where none are given."""
    for slot in range(f.rows):
        place = to + slot * w.row
        clear(place, w.row >> 2)
        if given:
            copy(place, given + 4 * load_int(w.order, slot) * f.h0_row, f.units)


def driver(columns: Callable[..., int], start: Any, project: Any, prepare: Any, step: Any, finish: Any) -> Callable[[Any], None]:
    """A recurrent kernel's body.

    Parameters
    ----------
    columns
        (units) -> floats in a panel-ordered row of pre-activations.
    start, finish
        (f, w): fetch and deliver what a cell keeps besides h.
    project
        (f, w, pairs): bias + x @ kernel of a chunk into w.chunk.
    prepare
        (f, w, slot, z): note the address of a slot's pre-activations; z is 0 where they are still to be computed from x.
    step
        (f, w, rows, s, features): compressed step s; ``features`` is 0 where x is already in the pre-activations.
    """

    @compiled
    def drive(f):  # type: ignore[no-untyped-def]
        width = columns(f.units)
        row_size = 4 * width
        w = lay_out(f.scratch, f.rows, ZERO if f.table else f.features, f.steps, f.units, width)
        compress(f, w)
        states_in(f, w, w.h_even, f.h0)
        start_addresses(f, w)
        start(f, w)
        longest = load_int(w.count, 0)
        capacity = chunk_rows(width)
        rows = f.rows
        s = ZERO
        while s < longest:
            while load_int(w.count, rows - 1) <= s:
                rows -= 1
            stop = s + 1
            projected = False
            if f.table == 0 and f.features > FEW_FEATURES and rows < TILE_ROWS and stop < longest:
                pairs, active, stop = ZERO, rows, s
                while stop < longest and pairs + active <= capacity:
                    while load_int(w.count, active - 1) <= stop:
                        active -= 1
                    for slot in range(active):
                        store_int(w.pairs, pairs + slot, _input_address(f, w, slot, stop))
                    pairs += active
                    stop += 1
                project(f, w, pairs)
                projected = True
            z = w.chunk
            while s < stop:
                while load_int(w.count, rows - 1) <= s:
                    rows -= 1
                gathering = rows >= TILE_ROWS and f.features >= GATHERED_FEATURES
                for slot in range(rows):
                    following = s + 1 if s + 1 < load_int(w.count, slot) else s
                    if projected:
                        prepare(f, w, slot, z)
                        z += row_size
                    elif f.table:
                        prepare(f, w, slot, _table_row(f, w, slot, s, row_size))
                        store_int(w.ahead, slot, _table_row(f, w, slot, following, row_size))
                    else:
                        prepare(f, w, slot, ZERO)
                        x = _input_address(f, w, slot, s)
                        if gathering:
                            copy(w.inputs + slot * w.input_row, x, f.features)
                            x = w.inputs + slot * w.input_row
                        store_int(w.x, slot, x)
                        store_int(w.ahead, slot, _input_address(f, w, slot, following))
                step(f, w, rows, s, ZERO if projected or f.table else f.features)
                if f.y:
                    _emit(f, w, rows, s, w.h_even if s & 1 else w.h_odd)
                s += 1
        if f.y and f.mask:
            _fill_masked(f, w)
        _final(f, w)
        finish(f, w)

    return drive
