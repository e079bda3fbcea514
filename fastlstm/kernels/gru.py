"""GRU in both its forms. Gates in file order: z r h.

``gru`` (``reset_after=True``, Keras's default since 2.x on TensorFlow; as cuDNN): h~ = activation(x W + b + r * (h U + b_r)).
``gru_before`` (Cho et al. 2014): h~ = activation(x W + b + (r * h) U). Both: h = z * h + (1 - z) * h~.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .activation import HARD_SIGMOID, SIGMOID, TANH, activated, default_alpha, hard_sigmoid
from .elementary import fma, inlined, sigmoid, tanh
from .registry import kernel
from .sequence import FIELDS, ONE, ZERO, columns_of, compiled, driver, fill_addresses, projector, sweeper
from .target import LANES, TILE_ROWS
from .tile import tile
from .vector import load, load_int, store, store_int


@compiled
def _nothing(f, w):  # type: ignore[no-untyped-def]
    return


# -- reset_after=True ---------------------------------------------------------------------------------------------------------

GATES = 3
_project, _columns = projector(GATES), columns_of(GATES)


def updater(gate: Callable[[Any], Any], activation: Callable[[Any], Any]) -> Callable[..., None]:
    """A function that updates a block of one row's units, for activations known at compile time."""

    @inlined
    def update(zx, zh, width, before, after):  # type: ignore[no-untyped-def]
        z = gate(load(zx, 0) + load(zh, 0))
        r = gate(load(zx, width) + load(zh, width))
        candidate = activation(fma(r, load(zh, 2 * width), load(zx, 2 * width)))
        store(after, 0, fma(z, load(before, 0), (1.0 - z) * candidate))

    return update


_usual, _hard = updater(sigmoid, tanh), updater(hard_sigmoid, tanh)


@compiled
def _any(zx: int, zh: int, width: int, before: int, after: int, gate: int, code: int) -> None:
    alpha = default_alpha(gate)
    z = activated(gate, load(zx, 0) + load(zh, 0), alpha)
    r = activated(gate, load(zx, width) + load(zh, width), alpha)
    candidate = activated(code, fma(r, load(zh, 2 * width), load(zx, 2 * width)), default_alpha(code))
    store(after, 0, fma(z, load(before, 0), (1.0 - z) * candidate))


@compiled
def _visit(f, w, cell, which, first, rows, panel, panels, width, vectors):  # type: ignore[no-untyped-def]
    s, features = cell
    states, before, after = (w.states2, w.h_odd, w.h_even) if s & 1 else (w.states, w.h_even, w.h_odd)
    offset = 4 * LANES * GATES * panel
    z_row = 4 * LANES * vectors * panels
    # A narrow block's gates are read a vector at a time, beyond its row: not where that is a folded table.
    own = features > 0 or width < LANES
    if own:
        tile(
            which, w.tile2, z_row, w.z + 8 * first, offset,
            w.x + 8 * first, f.kernel + offset * f.features, features, w.x, 0, 0,
        )  # fmt: skip
    tile(which, w.tile, z_row, w.z2, offset, states + 8 * first, f.recurrent + offset * f.units, f.units, w.x, 0, 0)
    gate, code, at = f.recurrent_activation, f.activation, 4 * LANES * panel
    for slot in range(first, first + rows):
        row = (slot - first) * z_row
        x_row = w.tile2 + row if own else load_int(w.z, slot) + offset
        for block in range(panels):
            inside = 4 * LANES * vectors * block
            zx, zh = x_row + inside, w.tile + row + inside
            unit = slot * w.row + at + 4 * LANES * block
            if gate == SIGMOID and code == TANH:
                _usual(zx, zh, width, before + unit, after + unit)
            elif gate == HARD_SIGMOID and code == TANH:
                _hard(zx, zh, width, before + unit, after + unit)
            else:
                _any(zx, zh, width, before + unit, after + unit, gate, code)


_sweep = sweeper(GATES, _visit)


@compiled
def _start(f, w):  # type: ignore[no-untyped-def]
    fill_addresses(w.z2, f.rows, f.recurrent_bias, ZERO)


@compiled
def _project_chunk(f, w, pairs):  # type: ignore[no-untyped-def]
    _project(w.pairs, pairs, f.features, f.units, f.kernel, w.biases, w.chunk, 4 * _columns(f.units))


@compiled
def _prepare(f, w, slot, z):  # type: ignore[no-untyped-def]
    store_int(w.z, slot, z if z else f.bias)


@compiled
def _step(f, w, rows, s, features):  # type: ignore[no-untyped-def]
    _sweep(f, w, (s, features), rows, s & 1, ZERO, 4 * (_columns(f.units) if f.table else features))


_drive = driver(_columns, _start, _project_chunk, _prepare, _step, _nothing)


@kernel(*FIELDS)
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
def _visit_gates(f, w, cell, which, first, rows, panel, panels, width, vectors):  # type: ignore[no-untyped-def]
    s, features = cell
    states, before = (w.states2, w.h_odd) if s & 1 else (w.states, w.h_even)
    offset = 4 * LANES * GATES_BEFORE * panel
    z_row = 4 * LANES * vectors * panels
    tile(
        which, w.tile, z_row, w.z + 8 * first, offset,
        w.x + 8 * first, f.kernel + offset * f.features, features,
        states + 8 * first, f.recurrent + offset * f.units, f.units,
    )  # fmt: skip
    gate, at = f.recurrent_activation, 4 * LANES * panel
    alpha = default_alpha(gate)
    for slot in range(first, first + rows):
        for block in range(panels):
            g = w.tile + (slot - first) * z_row + 4 * LANES * vectors * block
            unit = slot * w.row + at + 4 * LANES * block
            if gate == SIGMOID:
                z, r = sigmoid(load(g, 0)), sigmoid(load(g, width))
            elif gate == HARD_SIGMOID:
                z, r = hard_sigmoid(load(g, 0)), hard_sigmoid(load(g, width))
            else:
                z, r = activated(gate, load(g, 0), alpha), activated(gate, load(g, width), alpha)
            store(w.extra + unit, 0, z)
            store(w.extra2 + unit, 0, r * load(before + unit, 0))


@compiled
def _visit_candidate(f, w, cell, which, first, rows, panel, panels, width, vectors):  # type: ignore[no-untyped-def]
    s, features = cell
    before, after = (w.h_odd, w.h_even) if s & 1 else (w.h_even, w.h_odd)
    offset = 4 * LANES * 4 * panel
    z_row = 4 * LANES * vectors * panels
    tile(
        which, w.tile, z_row, w.z2 + 8 * first, offset,
        w.x + 8 * first, f.kernel_h + offset * f.features, features,
        w.states3 + 8 * first, f.recurrent_h + offset * f.units, f.units,
    )  # fmt: skip
    code = f.activation
    beta = default_alpha(code)
    for slot in range(first, first + rows):
        for v in range(vectors * panels):
            unit = slot * w.row + offset + 4 * LANES * v
            x = load(w.tile + (slot - first) * z_row, LANES * v)
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
    _project_gates(w.pairs, pairs, f.features, f.units, f.kernel, w.biases, w.chunk, row)
    second = w.chunk + 4 * _columns_gates(f.units)
    _project_candidate(w.pairs, pairs, f.features, f.units, f.kernel_h, w.biases2, second, row)


@compiled
def _prepare_both(f, w, slot, z):  # type: ignore[no-untyped-def]
    store_int(w.z, slot, z if z else f.bias)
    store_int(w.z2, slot, z + 4 * _columns_gates(f.units) if z else f.bias_h)


@compiled
def _step_before(f, w, rows, s, features):  # type: ignore[no-untyped-def]
    gates = 4 * _columns_gates(f.units)
    _sweep_gates(f, w, (s, features), rows, s & 1, ZERO, gates if f.table else 4 * features)
    _sweep_candidate(f, w, (s, features), rows, s & 1, gates, 4 * _columns_candidate(f.units) if f.table else ZERO)


_drive_before = driver(_columns_both, _start_before, _project_both, _prepare_both, _step_before, _nothing)


@kernel(*FIELDS)
def gru_before(f: Any) -> None:
    """GRU with ``reset_after=False`` over a block of rows."""
    _drive_before(f)
