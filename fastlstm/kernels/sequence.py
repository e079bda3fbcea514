"""What all recurrent kernels share: sequences compressed to their valid steps, the order of work, and what is emitted.

A row's valid steps are listed in the order of processing, and rows sorted by how many they have. At compressed step s only
the rows that have so many are computed: a prefix, of which each row reads the timestep that its own list names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..program import layout
from ..program.layout import Work
from .panels import ONE, ZERO, compiled
from .target import LANES, TILE_ROWS
from .vector import call, load, load_byte, load_first, load_int, load_int32, splat, store, store_first, store_int, store_int32

chunk_rows = compiled(layout.chunk_rows)
lay_out = compiled(layout.divider(compiled(layout.after), compiled(layout.state_row), chunk_rows))

#: A chunk of timesteps is projected ahead only where that is worth the detour.
FEW_FEATURES = 8

#: Multiply-adds of about a tenth of a millisecond: between two looks whether to go on.
PATIENCE = 2_500_000

#: From so many features on, and enough rows, those of a step are gathered before they are multiplied: every panel of weights reads
#: them anew, and rows at the distance of a whole sequence compete for few places in the caches.
GATHERED_FEATURES = 32


@compiled
def meet(f: Any) -> None:
    """Wait for the other members, if there are any: what they wrote can be read."""
    if f.members > 1:
        call(f.meet, f.team)


@compiled
def stopped(f: Any) -> bool:
    """Is the call to be left? What was computed is worthless then."""
    call(f.look, f.watch)
    return load_int(f.watch, ZERO) != 0


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


@compiled
def start_addresses(f: Any, w: Work) -> None:
    """The addresses that stay the same for all steps."""
    fill_addresses(w.states, f.rows, w.h_even, w.row)
    fill_addresses(w.states2, f.rows, w.h_odd, w.row)
    fill_addresses(w.states3, f.rows, w.extra2, w.row)
    fill_addresses(w.biases, ONE * TILE_ROWS, f.bias, ZERO)


@compiled
def _id(f: Any, row: int, t: int) -> int:
    """An id that has a row in the table, whatever has become of the caller's array since it was checked."""
    return min(max(load_int32(f.ids, row * f.ids_row + t), ZERO), f.vocabulary - 1)


@compiled
def _input_address(f: Any, w: Work, slot: int, s: int) -> int:
    row = load_int(w.order, slot)
    t = load_int32(w.index, row * f.steps + s)
    if f.ids:
        return f.x + 4 * _id(f, row, t) * f.x_step
    return f.x + 4 * (row * f.x_row + t * f.x_step)


@compiled
def _table_row(f: Any, w: Work, slot: int, s: int, row_size: int) -> int:
    row = load_int(w.order, slot)
    return f.table + row_size * _id(f, row, load_int32(w.index, row * f.steps + s))


@compiled
def _emit(f: Any, w: Work, rows: int, s: int, h: int) -> None:
    """Copy the states after compressed step s to y: a member its share of the rows."""
    members = max(f.members, 1)
    for slot in range(rows * f.member // members, rows * (f.member + 1) // members):
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
        if f.watch and stopped(f):
            return
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
        (f, w): fetch and deliver what a cell keeps besides h; the latter is called in one member of a team.
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
        w = lay_out(f.scratch, f.member, f.rows, f.steps, ZERO if f.table else f.features, f.units, width, ONE * LANES)
        compress(f, w)
        if f.member == 0:
            states_in(f, w, w.h_even, f.h0)
        start_addresses(f, w)
        start(f, w)
        meet(f)
        longest = load_int(w.count, 0)
        capacity = chunk_rows(width)
        rows = f.rows
        work, left = width * (f.features + f.units), ONE * PATIENCE
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
                meet(f)
                if f.y:
                    _emit(f, w, rows, s, w.h_even if s & 1 else w.h_odd)
                s += 1
                if f.watch:
                    left -= rows * work
                    if left < 0:
                        left = ONE * PATIENCE
                        if stopped(f):
                            return
        meet(f)
        if f.member == 0:
            if f.y and f.mask:
                _fill_masked(f, w)
            _final(f, w)
            finish(f, w)

    return drive
