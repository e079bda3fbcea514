"""The parts that all recurrent kernels share: sequences compressed to their valid steps, the order of work, and what is emitted.

A row's valid steps are listed in the order of processing, and rows sorted by how many they have. At compressed step s only
the rows that have so many are computed: a prefix, of which each row reads the timestep that its own list names. A cell adds its
equations to this (:func:`driver`); all but one are a single product of inputs and state (:func:`one_product`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..program.layout import AMX, AMX_ROWS, MOST_TILE_ROWS, Work
from . import amx
from .along_units import along_units
from .callbacks import PATIENCE, meet, patience_after, stopped
from .flags import ONE, ZERO, compiled, inlined
from .layout import chunk_rows, lay_out
from .memory import clear, copy, fill_addresses, load_byte, load_int, load_int32, store_int, store_int32
from .sweep import Tile, columns_of, courses, projector, sweeper
from .target import LANES, TILE_ROWS

#: A chunk of timesteps is projected ahead only where that is worth the detour.
FEW_FEATURES = 8

#: From so many features on, and enough rows, those of a step are gathered before they are multiplied: every panel of weights reads
#: them anew, and rows at the distance of a whole sequence compete for few places in the caches.
GATHERED_FEATURES = 32


class Step(NamedTuple):
    """A compressed step."""

    number: int
    features: int  # of x still to be multiplied: 0 where it is in the pre-activations already


class States(NamedTuple):
    """Where h is before and after a step: addresses of blocks of rows, one for each slot."""

    at: int  # address of the addresses of the rows before it
    before: int
    after: int


@inlined
def states_of(w: Work, step: Step) -> States:
    """Even steps read one block and write the other, odd ones the other way round."""
    if step.number & 1:
        return States(w.h_odd_at, w.h_odd, w.h_even)
    return States(w.h_even_at, w.h_even, w.h_odd)


@inlined
def inputs_at(t: Tile, w: Work) -> int:
    """Where products find the inputs of a step: a table of addresses, or tiles of AMX."""
    return w.x_amx if t.form >= AMX else w.x_at


@inlined
def states_at(t: Tile, w: Work, states: States) -> int:
    """The same of the states before it."""
    return w.h_amx if t.form >= AMX else states.at


# -- before the first step ----------------------------------------------------------------------------------------------------------


@compiled
def _compress(f: Any, w: Work) -> None:
    """List every row's valid steps, and sort the rows by their number, most first, equal ones in their order."""
    rows, steps = f.rows, f.steps
    for r in range(rows):
        index, mask = w.valid_steps + 4 * r * steps, f.mask + r * f.mask_row
        n = 0
        for p in range(steps):
            t = steps - 1 - p if f.reverse else p
            if f.mask == 0 or load_byte(mask, t) != 0:
                store_int32(index, n, t)
                n += 1
        store_int(w.x_at, r, n)  # unsorted: that table is free until the first step
    if f.mask == 0:
        for r in range(rows):
            store_int(w.row_of, r, r)
            store_int(w.step_counts, r, steps)
        return
    bins = w.chunk  # free until the first chunk
    for n in range(steps + 2):
        store_int(bins, n, 0)
    for r in range(rows):
        place = steps - load_int(w.x_at, r) + 1
        store_int(bins, place, load_int(bins, place) + 1)
    for n in range(steps + 1):
        store_int(bins, n + 1, load_int(bins, n + 1) + load_int(bins, n))
    for r in range(rows):
        n = load_int(w.x_at, r)
        slot = load_int(bins, steps - n)
        store_int(bins, steps - n, slot + 1)
        store_int(w.row_of, slot, r)
        store_int(w.step_counts, slot, n)


@compiled
def _start_addresses(f: Any, w: Work) -> None:
    """The addresses that stay the same for all steps."""
    fill_addresses(w.h_even_at, f.rows, w.h_even, w.row)
    fill_addresses(w.h_odd_at, f.rows, w.h_odd, w.row)
    fill_addresses(w.reset_h_at, f.rows, w.reset_h, w.row)
    fill_addresses(w.bias_at, ONE * MOST_TILE_ROWS, f.bias, ZERO)


@compiled
def states_in(f: Any, w: Work, to: int, given: int) -> None:
    """Copy initial states to the rows' slots; zeros where none are given."""
    for slot in range(f.rows):
        place = to + slot * w.row
        clear(place, w.row >> 2)
        if given:
            copy(place, given + 4 * load_int(w.row_of, slot) * f.h0_row, f.units)


# -- during a step -----------------------------------------------------------------------------------------------------------------


@inlined
def _rows_at(w: Work, rows: int, s: int) -> int:
    """How many slots, of so many that had the step before, have compressed step s."""
    while load_int(w.step_counts, rows - 1) <= s:
        rows -= 1
    return rows


@compiled
def _id(f: Any, row: int, t: int) -> int:
    """An id that has a row in the table, whatever has become of the caller's array since it was checked."""
    return min(max(load_int32(f.ids, row * f.ids_row + t), ZERO), f.vocabulary - 1)


@compiled
def _input_address(f: Any, w: Work, slot: int, s: int) -> int:
    row = load_int(w.row_of, slot)
    t = load_int32(w.valid_steps, row * f.steps + s)
    if f.ids:
        return f.x + 4 * _id(f, row, t) * f.x_step
    return f.x + 4 * (row * f.x_row + t * f.x_step)


@compiled
def _table_row(f: Any, w: Work, slot: int, s: int, row_size: int) -> int:
    row = load_int(w.row_of, slot)
    return f.table + row_size * _id(f, row, load_int32(w.valid_steps, row * f.steps + s))


@compiled
def _emit(f: Any, w: Work, rows: int, s: int, h: int) -> None:
    """Copy the states after compressed step s to y: a member its share of the rows."""
    members = max(f.members, 1)
    for slot in range(rows * f.member // members, rows * (f.member + 1) // members):
        row = load_int(w.row_of, slot)
        t = load_int32(w.valid_steps, row * f.steps + s)
        if f.reverse and not f.y_time_order:
            t = f.steps - 1 - t
        copy(f.y + 4 * (row * f.y_row + t * f.y_step), h + slot * w.row, f.units)


# -- after the last step ------------------------------------------------------------------------------------------------------------


@compiled
def _fill_masked(f: Any, w: Work) -> None:
    """Write the outputs of masked steps."""
    for slot in range(f.rows):
        if load_int(w.step_counts, slot) == f.steps:
            continue
        if f.watch and stopped(f):
            return
        row = load_int(w.row_of, slot)
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
        row, count = load_int(w.row_of, slot), load_int(w.step_counts, slot)
        h = (w.h_odd if count & 1 else w.h_even) + slot * w.row
        if f.last:
            masked = f.mask != 0 and f.fill != 0 and load_byte(f.mask, row * f.mask_row + (0 if f.reverse else f.steps - 1)) == 0
            if masked or (count == 0 and not (f.head and f.h0)):
                clear(f.last + 4 * row * f.last_row, f.units)
            else:
                copy(f.last + 4 * row * f.last_row, h, f.units)
        if f.h_out:
            copy(f.h_out + 4 * row * f.out_row, h, f.units)


# -- the whole ----------------------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """The functions with which a cell completes :func:`driver`: compiled; f is a kernel's struct, w its :class:`Work`."""

    columns: Callable[..., Any]  # (f): floats in a panel-ordered row of pre-activations
    start: Callable[..., Any]  # (f, w): fetch what the cell keeps in addition to h
    project: Callable[..., Any]  # (f, w, pairs): bias + x @ kernel of a chunk's pairs into w.chunk
    prepare: Callable[..., Any]  # (f, w, slot, z): note the address z of a slot's pre-activations; 0: x is still to be multiplied
    course: Callable[..., Any]  # (f, rows): how a step of that many rows is computed
    step: Callable[..., Any]  # (f, w, rows, course, step): the step of that many rows
    finish: Callable[..., Any]  # (f, w): deliver what the cell keeps in addition to h; called in one member of a team


def driver(cell: Cell) -> Callable[[Any], None]:
    """A recurrent kernel's body."""
    columns, start, project, prepare, course, step, finish = cell

    @inlined
    def project_ahead(f, w, rows, s, longest, capacity):
        """Project a chunk of timesteps from s on; returns where it ends."""
        pairs, active, stop = ZERO, rows, s
        while stop < longest and pairs + active <= capacity:
            active = _rows_at(w, active, stop)
            for slot in range(active):
                store_int(w.pairs_at, pairs + slot, _input_address(f, w, slot, stop))
            pairs += active
            stop += 1
        project(f, w, pairs)
        return stop

    @inlined
    def prepare_rows(f, w, rows, s, projected, z, row_size):
        """Note what each row reads at step s, and at the next one; returns where the next projection is."""
        gathering = rows >= TILE_ROWS and f.features >= GATHERED_FEATURES and f.form < AMX
        for slot in range(rows):
            following = s + 1 if s + 1 < load_int(w.step_counts, slot) else s
            if projected:
                prepare(f, w, slot, z)
                z += row_size
            elif f.table:
                prepare(f, w, slot, _table_row(f, w, slot, s, row_size))
                store_int(w.next_at, slot, _table_row(f, w, slot, following, row_size))
            else:
                prepare(f, w, slot, ZERO)
                x = _input_address(f, w, slot, s)
                if gathering:
                    copy(w.inputs + slot * w.input_row, x, f.features)
                    x = w.inputs + slot * w.input_row
                store_int(w.x_at, slot, x)
                store_int(w.next_at, slot, _input_address(f, w, slot, following))
        return z

    @compiled
    def drive(f):
        width = columns(f)
        w = lay_out(f.scratch, f.member, f.rows, f.steps, ZERO if f.table else f.features, f.units, width, ONE * LANES, f.form)
        _compress(f, w)
        if f.member == 0:
            states_in(f, w, w.h_even, f.h0)
        _start_addresses(f, w)
        if f.form >= AMX:
            amx.unshaped(w.amx_configuration)
        start(f, w)
        meet(f)
        longest, capacity = load_int(w.step_counts, 0), chunk_rows(width)
        work, left = width * (f.features + f.units), ONE * PATIENCE
        few = ONE * AMX_ROWS // 2 if f.form >= AMX else ONE * TILE_ROWS
        s, rows, computed, c = ZERO, f.rows, f.rows, course(f, f.rows)
        while s < longest:
            rows = _rows_at(w, rows, s)
            stop, projected = s + 1, False
            if f.table == 0 and f.features > FEW_FEATURES and rows < few and stop < longest:
                stop, projected = project_ahead(f, w, rows, s, longest, capacity), True
            z = w.chunk
            while s < stop:
                rows = _rows_at(w, rows, s)
                if rows != computed:
                    computed, c = rows, course(f, rows)
                z = prepare_rows(f, w, rows, s, projected, z, 4 * width)
                step(f, w, rows, c, Step(s, ZERO if projected or f.table else f.features))
                meet(f)
                if f.y:
                    _emit(f, w, rows, s, w.h_even if s & 1 else w.h_odd)
                s += 1
                left = patience_after(f, left, rows * work)
                if left < 0:
                    amx.released(f)
                    return
                if f.form >= AMX and f.watch and left == PATIENCE:
                    amx.unshaped(w.amx_configuration)  # it looked: a signal handler of the caller's may have run another model
        amx.released(f)
        meet(f)
        if f.member == 0:
            if f.y and f.mask:
                _fill_masked(f, w)
            _final(f, w)
            finish(f, w)

    return drive


@inlined
def prepare_operands(f: Any, w: Work, rows: int, step: Step) -> None:
    """Where weights are of AMX: bring the inputs and states of a step into tiles."""
    if f.form >= AMX:
        amx.prepare(f, rows, w.x_amx, w.x_at, step.features)
        amx.prepare(f, rows, w.h_amx, states_of(w, step).at, f.units)


@compiled
def nothing(f: Any, w: Work) -> None:
    """The start or finish of a cell that keeps nothing but h."""
    return


def one_product(
    gates: int, visit: Callable[[Any, Work, Step, Tile], None], by_rows: Any, start: Any = nothing, finish: Any = nothing
) -> Callable[[Any], None]:
    """The body of a cell that computes all of its gates, from x and h, in one sweep: of ``visit``, which computes a tile's units.

    Where activations need all units of a row, ``visit`` keeps the pre-activations, and ``by_rows(f, w, rows, step)`` does the rest.
    """
    columns, project, course, sweep = columns_of(gates), projector(gates), courses(gates), sweeper(gates, visit)

    @compiled
    def project_chunk(f, w, pairs):
        project(f, w, w.pairs_at, pairs, f.kernel, w.bias_at, w.chunk, 4 * columns(f))

    @compiled
    def prepare(f, w, slot, z):
        store_int(w.sums_at, slot, z if z else f.bias)

    @inlined
    def advance(f, w, rows, c, step):
        prepare_operands(f, w, rows, step)
        sweep(f, w, step, c, ZERO, 4 * (columns(f) if f.table else step.features))
        if along_units(f):
            meet(f)
            by_rows(f, w, rows, step)

    return driver(Cell(columns, start, project_chunk, prepare, course, advance, finish))
