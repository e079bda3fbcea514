"""GRU in both its forms. Gates in file order: z r h.

``gru`` (``reset_after=True``, Keras's default since 2.x on TensorFlow; as cuDNN): h~ = activation(x W + b + r * (h U + b_r)).
``gru_before`` (Cho et al. 2014): h~ = activation(x W + b + (r * h) U). Both: h = z * h + (1 - z) * h~.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..program.contracts.recurrent import GRU_BEFORE_GATES, GRU_GATES
from ..program.layout import AMX, MOST_TILE_ROWS
from . import amx
from .activation import HARD_SIGMOID, SIGMOID, TANH, hard_sigmoid
from .along_units import activate_row, along_units, keep, kept_at, mine, unpack, unpacked_at
from .blocks import activation_by_code, always, blocks_of, gate_by_code, paired
from .callbacks import meet
from .elementary import fma, sigmoid, tanh
from .flags import ONE, ZERO, compiled, inlined
from .memory import copy, fill_addresses, load_int, load_part, store_int, store_part
from .registry import kernel
from .sequence import Cell, driver, inputs_at, nothing, one_product, prepare_operands, states_at, states_of
from .sweep import Operand, columns_of, courses, fetch, multiply, projector, sweeper
from .target import LANES, VECTOR

# -- reset_after=True -------------------------------------------------------------------------------------------------------------


class Blocks(NamedTuple):
    """Blocks of units, of several rows or side by side in one: addresses of the first, and bytes from one to the next."""

    count: int
    rows_at: int  # addresses of the rows of a folded table, whose blocks are ``x`` bytes into them; or 0
    x: int  # pre-activations from the input
    h: int  # and from the state
    z_step: int  # of both
    width: int  # columns of a gate
    before: int
    after: int
    step: int  # of both
    gate: int  # codes of activations
    code: int
    gate_alpha: float  # and their parameters
    alpha: float


@inlined
def _x_of(b, n):
    return load_int(b.rows_at, n) + b.x if b.rows_at else b.x + n * b.z_step


def updater(gate: Callable[..., Any], activation: Callable[..., Any], how: Callable[..., Any] = inlined) -> Callable[..., None]:
    """A function that updates blocks: first what all their candidates are made of, then all their states.

    ``gate`` and ``activation`` are functions of them and a vector.
    """

    def resets(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):
            x, h, width = _x_of(b, n), b.h + n * b.z_step, b.width
            x_step = _x_of(b, n + 1) - x  # of no meaning, and not used, for the last one
            r = gate(b, load(x, x_step, width) + load(h, b.z_step, width))
            store(b.after + n * b.step, b.step, 0, fma(r, load(h, b.z_step, 2 * width), load(x, x_step, 2 * width)))

        return block

    def states(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):
            x, h, unit = _x_of(b, n), b.h + n * b.z_step, n * b.step
            z = gate(b, load(x, _x_of(b, n + 1) - x, 0) + load(h, b.z_step, 0))
            candidate = activation(b, load(b.after + unit, b.step, 0))
            store(b.after + unit, b.step, 0, fma(z, load(b.before + unit, b.step, 0), (1.0 - z) * candidate))

        return block

    every_reset, every_state = paired(resets, how), paired(states, how, fetching=False)

    @how
    def update(b, t):
        every_reset(b, t)
        every_state(b, t)

    return update


_usual, _hard = updater(always(sigmoid), always(tanh)), updater(always(hard_sigmoid), always(tanh))
_any = updater(gate_by_code, activation_by_code, compiled)
_columns = columns_of(GRU_GATES)


@inlined
def _visit(f, w, step, t):
    states, walk = states_of(w, step), blocks_of(t, w)
    none = Operand(w.x_at, ZERO, ZERO)
    # A narrow block's gates are read a vector at a time, beyond its row: not where that is a folded table.
    own = step.features > 0 or t.width < LANES
    if own:
        multiply(t, w.result, w.sums_at, Operand(inputs_at(t, w), f.kernel, step.features), none)
    multiply(t, w.second_result, w.second_sums_at, none, Operand(states_at(t, w, states), f.recurrent, f.units))
    if own:
        rows_at, x = ZERO, w.result
    elif t.panels > 1:
        rows_at, x = ZERO, load_int(w.sums_at, t.first) + t.panel
    else:
        rows_at, x = w.sums_at + 8 * t.first, t.panel
    gate, code, at = f.recurrent_activation, f.activation, t.first * w.row + t.unit
    b = Blocks(
        count=walk.count,
        rows_at=rows_at,
        x=x,
        h=w.second_result,
        z_step=walk.gates,
        width=t.width,
        before=states.before + at,
        after=states.after + at,
        step=walk.units,
        gate=gate,
        code=code,
        gate_alpha=f.recurrent_alpha,
        alpha=f.alpha,
    )
    if gate == SIGMOID and code == TANH:
        _usual(b, t)
    elif gate == HARD_SIGMOID and code == TANH:
        _hard(b, t)
    elif along_units(f):
        for n in range(t.rows):
            x = w.result + n * t.row if own else load_int(w.sums_at, t.first + n) + t.panel
            keep(f, _columns(f), t, n, x, ZERO)
            keep(f, _columns(f), t, n, w.second_result + n * t.row, _columns(f))
    else:
        _any(b, t)


@compiled
def _advance(states, row, z, candidate, units):
    """h = z * h + (1 - z) * candidate of a whole row."""
    for u in range(0, units, LANES):
        left = units - u
        gate = load_part(z, u, left)
        value = fma(gate, load_part(states.before + row, u, left), (1.0 - gate) * load_part(candidate, u, left))
        store_part(states.after + row, u, value, left)


@compiled
def _by_rows(f, w, rows, step):
    """The gates and states of whole rows."""
    first, last = mine(f, rows)
    states, units, columns = states_of(w, step), f.units, _columns(f)
    for slot in range(first, last):
        of_x, kept = unpacked_at(f, columns, slot), kept_at(f, columns, slot)
        size = unpack(of_x, kept, units, ONE * GRU_GATES)
        of_h = of_x + GRU_GATES * size
        unpack(of_h, kept + 4 * columns, units, ONE * GRU_GATES)
        z, r, candidate = of_x, of_x + size, of_x + 2 * size
        for u in range(0, units, LANES):
            left = units - u
            store_part(z, u, load_part(z, u, left) + load_part(of_h, u, left), left)
            store_part(r, u, load_part(r, u, left) + load_part(of_h + size, u, left), left)
        activate_row(f.recurrent_activation, f.recurrent_alpha, z, units)
        activate_row(f.recurrent_activation, f.recurrent_alpha, r, units)
        for u in range(0, units, LANES):
            left = units - u
            store_part(candidate, u, fma(load_part(r, u, left), load_part(of_h + 2 * size, u, left), load_part(candidate, u, left)), left)
        activate_row(f.activation, f.alpha, candidate, units)
        _advance(states, slot * w.row, z, candidate, units)


@compiled
def _start(f, w):
    fill_addresses(w.second_sums_at, f.rows, f.recurrent_bias, ZERO)


_gru = one_product(GRU_GATES, _visit, _by_rows, _start)


@kernel
def gru(f: Any) -> None:
    """GRU with ``reset_after=True`` over a block of rows."""
    _gru(f)


# -- reset_after=False: the candidate needs every unit of r * h, so that a step is a product for z and r, then one for it ---------------

_columns_gates, _columns_candidate = map(columns_of, GRU_BEFORE_GATES)
_project_gates, _project_candidate = map(projector, GRU_BEFORE_GATES)
_course_gates, _course_candidate = map(courses, GRU_BEFORE_GATES)


@compiled
def _columns_both(f):
    return _columns_gates(f) + _columns_candidate(f)


class Gates(NamedTuple):
    """Blocks of z and r, as :class:`Blocks` are."""

    count: int
    sums: int  # the tile's result
    sums_step: int
    width: int
    before: int
    z: int
    reset_h: int
    step: int  # of these three
    gate: int
    gate_alpha: float


class Candidates(NamedTuple):
    """Blocks of candidates, side by side in a row."""

    count: int
    sums: int
    before: int
    z: int
    after: int
    code: int
    alpha: float


def gates_updater(gate: Callable[..., Any], how: Callable[..., Any] = inlined) -> Callable[..., None]:
    """A function that computes z, and r * h, of blocks."""

    def gates(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):
            sums, unit = b.sums + n * b.sums_step, n * b.step
            store(b.z + unit, b.step, 0, gate(b, load(sums, b.sums_step, 0)))
            r = gate(b, load(sums, b.sums_step, b.width))
            store(b.reset_h + unit, b.step, 0, r * load(b.before + unit, b.step, 0))

        return block

    return paired(gates, how)


def candidates_updater(activation: Callable[..., Any], how: Callable[..., Any] = inlined) -> Callable[..., None]:
    """A function that computes the candidates of blocks, and with z the new states."""

    def candidates(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):
            step, unit = ONE * VECTOR, n * VECTOR
            z, candidate = load(b.z + unit, step, 0), activation(b, load(b.sums + unit, step, 0))
            store(b.after + unit, step, 0, fma(z, load(b.before + unit, step, 0), (1.0 - z) * candidate))

        return block

    return paired(candidates, how, fetching=False)


_usual_gates, _hard_gates = gates_updater(always(sigmoid)), gates_updater(always(hard_sigmoid))
_any_gates = gates_updater(gate_by_code, compiled)
_usual_candidates, _any_candidates = candidates_updater(always(tanh)), candidates_updater(activation_by_code, compiled)


@compiled
def _visit_gates(f, w, step, t):
    """Compute z, and r * h."""
    states, walk = states_of(w, step), blocks_of(t, w)
    x, h = Operand(inputs_at(t, w), f.kernel, step.features), Operand(states_at(t, w, states), f.recurrent, f.units)
    multiply(t, w.result, w.sums_at, x, h)
    at, gate, alpha = t.first * w.row + t.unit, f.recurrent_activation, f.recurrent_alpha
    b = Gates(walk.count, w.result, walk.gates, t.width, states.before + at, w.held + at, w.reset_h + at, walk.units, gate, alpha)
    if along_units(f):
        for n in range(t.rows):
            keep(f, _columns_both(f), t, n, w.result + n * t.row, ZERO)
    elif gate == SIGMOID:
        _usual_gates(b, t)
    elif gate == HARD_SIGMOID:
        _hard_gates(b, t)
    else:
        _any_gates(b, t)


@compiled
def _visit_candidate(f, w, step, t):
    """Compute the candidate, and with z the new state."""
    states = states_of(w, step)
    x = Operand(inputs_at(t, w), f.kernel_h, step.features)
    reset_h = Operand(w.h_amx if t.form >= AMX else w.reset_h_at, f.recurrent_h, f.units)
    multiply(t, w.result, w.second_sums_at, x, reset_h)
    if along_units(f):
        for n in range(t.rows):
            keep(f, _columns_both(f), t, n, w.result + n * t.row, ZERO)
        return
    for n in range(t.rows):
        fetch(t, n)
        sums, at = w.result + n * t.row, (t.first + n) * w.row + t.unit
        b = Candidates(t.vectors * t.panels, sums, states.before + at, w.held + at, states.after + at, f.activation, f.alpha)
        if b.code == TANH:
            _usual_candidates(b, t)
        else:
            _any_candidates(b, t)


@inlined
def _weights_candidate(f):
    return f.kernel_h, f.recurrent_h


_sweep_gates = sweeper(GRU_BEFORE_GATES[0], _visit_gates)
_sweep_candidate = sweeper(GRU_BEFORE_GATES[1], _visit_candidate, _weights_candidate)


@compiled
def _gates_by_rows(f, w, rows, step):
    """z, and r * h, of whole rows."""
    first, last = mine(f, rows)
    states, units = states_of(w, step), f.units
    for slot in range(first, last):
        z, row = unpacked_at(f, _columns_both(f), slot), slot * w.row
        r = z + unpack(z, kept_at(f, _columns_both(f), slot), units, ONE * GRU_BEFORE_GATES[0])
        activate_row(f.recurrent_activation, f.recurrent_alpha, z, units)
        activate_row(f.recurrent_activation, f.recurrent_alpha, r, units)
        copy(w.held + row, z, units)
        for u in range(0, units, LANES):
            left = units - u
            store_part(w.reset_h + row, u, load_part(r, u, left) * load_part(states.before + row, u, left), left)


@compiled
def _candidates_by_rows(f, w, rows, step):
    """The candidates of whole rows, and with z the new states."""
    first, last = mine(f, rows)
    for slot in range(first, last):
        candidate, row = kept_at(f, _columns_both(f), slot), slot * w.row
        activate_row(f.activation, f.alpha, candidate, f.units)
        _advance(states_of(w, step), row, w.held + row, candidate, f.units)


@compiled
def _start_before(f, w):
    fill_addresses(w.second_bias_at, ONE * MOST_TILE_ROWS, f.bias_h, ZERO)


@compiled
def _project_both(f, w, pairs):
    row = 4 * _columns_both(f)
    _project_gates(f, w, w.pairs_at, pairs, f.kernel, w.bias_at, w.chunk, row)
    second = w.chunk + 4 * _columns_gates(f)
    _project_candidate(f, w, w.pairs_at, pairs, f.kernel_h, w.second_bias_at, second, row)


@compiled
def _prepare_both(f, w, slot, z):
    store_int(w.sums_at, slot, z if z else f.bias)
    store_int(w.second_sums_at, slot, z + 4 * _columns_gates(f) if z else f.bias_h)


@compiled
def _courses_before(f, rows):
    return _course_gates(f, rows), _course_candidate(f, rows)


@inlined
def _step_before(f, w, rows, c, step):
    gates = 4 * _columns_gates(f)
    prepare_operands(f, w, rows, step)
    _sweep_gates(f, w, step, c[0], ZERO, gates if f.table else 4 * step.features)
    meet(f)
    if along_units(f):
        _gates_by_rows(f, w, rows, step)
        meet(f)
    if f.form >= AMX:
        amx.prepare(f, rows, w.h_amx, w.reset_h_at, f.units)
    _sweep_candidate(f, w, step, c[1], gates, 4 * _columns_candidate(f) if f.table else ZERO)
    if along_units(f):
        meet(f)
        _candidates_by_rows(f, w, rows, step)


_gru_before = driver(Cell(_columns_both, _start_before, _project_both, _prepare_both, _courses_before, _step_before, nothing))


@kernel
def gru_before(f: Any) -> None:
    """GRU with ``reset_after=False`` over a block of rows."""
    _gru_before(f)
