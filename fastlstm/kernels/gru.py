"""GRU in both its forms. Gates in file order: z r h.

``gru`` (``reset_after=True``, Keras's default since 2.x on TensorFlow; as cuDNN): h~ = activation(x W + b + r * (h U + b_r)).
``gru_before`` (Cho et al. 2014): h~ = activation(x W + b + (r * h) U). Both: h = z * h + (1 - z) * h~.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .activation import HARD_SIGMOID, SIGMOID, TANH, activated, default_alpha, hard_sigmoid
from .elementary import fma, inlined, sigmoid, tanh
from .panels import ONE, ZERO, columns_of, compiled, fetch, paired, projector, sweeper
from .registry import kernel
from .sequence import driver, fill_addresses, meet
from .target import LANES, TILE_ROWS
from .tile import tile
from .vector import load, load_int, store, store_int


@compiled
def _nothing(f, w):  # type: ignore[no-untyped-def]
    return


# -- reset_after=True ---------------------------------------------------------------------------------------------------------

GATES = 3
_project, _columns = projector(GATES), columns_of(GATES)


class Blocks(NamedTuple):
    """Blocks of units, of several rows or side by side in one: addresses of the first, and bytes from one to the next."""

    count: int
    rows: int  # addresses of the rows of a folded table, with blocks ``x`` bytes behind; or 0
    x: int  # pre-activations from the input
    h: int  # and from the state
    z_step: int  # of both
    width: int  # columns of a gate
    before: int
    after: int
    step: int  # of both
    gate: int  # codes of activations
    code: int


@inlined
def _x_of(b, n):  # type: ignore[no-untyped-def]
    return load_int(b.rows, n) + b.x if b.rows else b.x + n * b.z_step


def updater(gate: Callable[..., Any], activation: Callable[..., Any], how: Callable[..., Any] = inlined) -> Callable[..., None]:
    """A function that updates blocks; ``gate`` and ``activation`` are functions of them and a vector."""

    def updates(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):  # type: ignore[no-untyped-def]
            x, h, unit, width = _x_of(b, n), b.h + n * b.z_step, n * b.step, b.width
            x_step = _x_of(b, n + 1) - x  # of no meaning, and not used, for the last one
            z = gate(b, load(x, x_step, 0) + load(h, b.z_step, 0))
            r = gate(b, load(x, x_step, width) + load(h, b.z_step, width))
            candidate = activation(b, fma(r, load(h, b.z_step, 2 * width), load(x, x_step, 2 * width)))
            store(b.after + unit, b.step, 0, fma(z, load(b.before + unit, b.step, 0), (1.0 - z) * candidate))

        return block

    return paired(updates, how)


@inlined
def _sigmoid(b, x):  # type: ignore[no-untyped-def]
    return sigmoid(x)


@inlined
def _hard_sigmoid(b, x):  # type: ignore[no-untyped-def]
    return hard_sigmoid(x)


@inlined
def _tanh(b, x):  # type: ignore[no-untyped-def]
    return tanh(x)


@inlined
def _gate(b, x):  # type: ignore[no-untyped-def]
    return activated(b.gate, x, default_alpha(b.gate))


@inlined
def _activation(b, x):  # type: ignore[no-untyped-def]
    return activated(b.code, x, default_alpha(b.code))


_usual, _hard, _any = updater(_sigmoid, _tanh), updater(_hard_sigmoid, _tanh), updater(_gate, _activation, compiled)


@inlined
def _visit(f, w, cell, t):  # type: ignore[no-untyped-def]
    s, features = cell
    states, before, after = (w.states2, w.h_odd, w.h_even) if s & 1 else (w.states, w.h_even, w.h_odd)
    offset = 4 * LANES * GATES * t.panel
    z_row = 4 * LANES * t.vectors * t.panels
    # A narrow block's gates are read a vector at a time, beyond its row: not where that is a folded table.
    own = features > 0 or t.width < LANES
    if own:
        tile(
            t.which, w.tile2, z_row, w.z + 8 * t.first, offset,
            w.x + 8 * t.first, f.kernel + offset * f.features, features, w.x, 0, 0, t.fetched,
        )  # fmt: skip
    tile(t.which, w.tile, z_row, w.z2, offset, states + 8 * t.first, f.recurrent + offset * f.units, f.units, w.x, 0, 0, t.fetched)
    gate, code, at = f.recurrent_activation, f.activation, t.first * w.row + 4 * LANES * t.panel
    # Several rows, or several panels of one.
    count, z_step, step = (t.panels, 4 * LANES * t.vectors, ONE * 4 * LANES) if t.panels > 1 else (t.rows, z_row, w.row)
    if own:
        rows, x = ZERO, w.tile2
    elif t.panels > 1:
        rows, x = ZERO, load_int(w.z, t.first) + offset
    else:
        rows, x = w.z + 8 * t.first, offset
    b = Blocks(count, rows, x, w.tile, z_step, t.width, before + at, after + at, step, gate, code)
    if gate == SIGMOID and code == TANH:
        _usual(b, t)
    elif gate == HARD_SIGMOID and code == TANH:
        _hard(b, t)
    else:
        _any(b, t)


_sweep = sweeper(GATES, _visit)


@compiled
def _start(f, w):  # type: ignore[no-untyped-def]
    fill_addresses(w.z2, f.rows, f.recurrent_bias, ZERO)


@compiled
def _project_chunk(f, w, pairs):  # type: ignore[no-untyped-def]
    _project(f, w.pairs, pairs, f.kernel, w.biases, w.chunk, 4 * _columns(f.units))


@compiled
def _prepare(f, w, slot, z):  # type: ignore[no-untyped-def]
    store_int(w.z, slot, z if z else f.bias)


@compiled
def _step(f, w, rows, s, features):  # type: ignore[no-untyped-def]
    _sweep(f, w, (s, features), rows, s & 1, ZERO, 4 * (_columns(f.units) if f.table else features))


_drive = driver(_columns, _start, _project_chunk, _prepare, _step, _nothing)


@kernel
def gru(f: Any) -> None:
    """GRU with ``reset_after=True`` over a block of rows."""
    _drive(f)


# -- reset_after=False --------------------------------------------------------------------------------------------------------

GATES_BEFORE = 2
_project_gates, _project_candidate = projector(GATES_BEFORE), projector(1)
_columns_gates, _columns_candidate = columns_of(GATES_BEFORE), columns_of(1)


@compiled
def _columns_both(units):  # type: ignore[no-untyped-def]
    return _columns_gates(units) + _columns_candidate(units)


@compiled
def _visit_gates(f, w, cell, t):  # type: ignore[no-untyped-def]
    s, features = cell
    states, before = (w.states2, w.h_odd) if s & 1 else (w.states, w.h_even)
    offset = 4 * LANES * GATES_BEFORE * t.panel
    z_row = 4 * LANES * t.vectors * t.panels
    tile(
        t.which, w.tile, z_row, w.z + 8 * t.first, offset,
        w.x + 8 * t.first, f.kernel + offset * f.features, features,
        states + 8 * t.first, f.recurrent + offset * f.units, f.units, t.fetched,
    )  # fmt: skip
    gate, at = f.recurrent_activation, 4 * LANES * t.panel
    alpha = default_alpha(gate)
    for slot in range(t.first, t.first + t.rows):
        fetch(t, slot - t.first)
        for block in range(t.panels):
            g = w.tile + (slot - t.first) * z_row + 4 * LANES * t.vectors * block
            unit = slot * w.row + at + 4 * LANES * block
            if gate == SIGMOID:
                z, r = sigmoid(load(g, 0)), sigmoid(load(g, t.width))
            elif gate == HARD_SIGMOID:
                z, r = hard_sigmoid(load(g, 0)), hard_sigmoid(load(g, t.width))
            else:
                z, r = activated(gate, load(g, 0), alpha), activated(gate, load(g, t.width), alpha)
            store(w.extra + unit, 0, z)
            store(w.extra2 + unit, 0, r * load(before + unit, 0))


@compiled
def _visit_candidate(f, w, cell, t):  # type: ignore[no-untyped-def]
    s, features = cell
    before, after = (w.h_odd, w.h_even) if s & 1 else (w.h_even, w.h_odd)
    offset = 4 * LANES * 4 * t.panel
    z_row = 4 * LANES * t.vectors * t.panels
    tile(
        t.which, w.tile, z_row, w.z2 + 8 * t.first, offset,
        w.x + 8 * t.first, f.kernel_h + offset * f.features, features,
        w.states3 + 8 * t.first, f.recurrent_h + offset * f.units, f.units, t.fetched,
    )  # fmt: skip
    code = f.activation
    beta = default_alpha(code)
    for slot in range(t.first, t.first + t.rows):
        fetch(t, slot - t.first)
        for v in range(t.vectors * t.panels):
            unit = slot * w.row + offset + 4 * LANES * v
            x = load(w.tile + (slot - t.first) * z_row, LANES * v)
            candidate = tanh(x) if code == TANH else activated(code, x, beta)
            z = load(w.extra + unit, 0)
            store(after + unit, 0, fma(z, load(before + unit, 0), (1.0 - z) * candidate))


_sweep_gates, _sweep_candidate = sweeper(GATES_BEFORE, _visit_gates), sweeper(1, _visit_candidate)


@compiled
def _start_before(f, w):  # type: ignore[no-untyped-def]
    fill_addresses(w.biases2, ONE * TILE_ROWS, f.bias_h, ZERO)


@compiled
def _project_both(f, w, pairs):  # type: ignore[no-untyped-def]
    row = 4 * _columns_both(f.units)
    _project_gates(f, w.pairs, pairs, f.kernel, w.biases, w.chunk, row)
    second = w.chunk + 4 * _columns_gates(f.units)
    _project_candidate(f, w.pairs, pairs, f.kernel_h, w.biases2, second, row)


@compiled
def _prepare_both(f, w, slot, z):  # type: ignore[no-untyped-def]
    store_int(w.z, slot, z if z else f.bias)
    store_int(w.z2, slot, z + 4 * _columns_gates(f.units) if z else f.bias_h)


@compiled
def _step_before(f, w, rows, s, features):  # type: ignore[no-untyped-def]
    gates = 4 * _columns_gates(f.units)
    _sweep_gates(f, w, (s, features), rows, s & 1, ZERO, gates if f.table else 4 * features)
    meet(f)  # the candidate needs every unit of r * h
    _sweep_candidate(f, w, (s, features), rows, s & 1, gates, 4 * _columns_candidate(f.units) if f.table else ZERO)


_drive_before = driver(_columns_both, _start_before, _project_both, _prepare_both, _step_before, _nothing)


@kernel
def gru_before(f: Any) -> None:
    """GRU with ``reset_after=False`` over a block of rows."""
    _drive_before(f)
