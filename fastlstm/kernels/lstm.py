"""LSTM: i, f, o = recurrent_activation(...), c = f * c + i * activation(...), h = o * activation(c) (Hochreiter and Schmidhuber
1997, with the forget gate of Gers et al. 2000). Gates in file order: i f c o."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .activation import (
    HARD_SIGMOID,
    RELU,
    SIGMOID,
    TANH,
    activated,
    default_alpha,
    hard_sigmoid,
    relu,
)
from .elementary import fma, inlined, sigmoid, sigmoid_denominator, tanh, tanh_numerator
from .registry import kernel
from .sequence import FIELDS, columns_of, compiled, copy, driver, projector, states_in, sweeper
from .target import LANES
from .tile import tile
from .vector import load, load_int, store, store_int

GATES = 4
_project = projector(GATES)


def updater(gate: Callable[[Any], Any], activation: Callable[[Any], Any]) -> Callable[..., None]:
    """A function that updates a block of one row's units from its pre-activations, for activations known at compile time."""

    @inlined
    def update(z, width, c, h):  # type: ignore[no-untyped-def]
        state = fma(gate(load(z, width)), load(c, 0), gate(load(z, 0)) * activation(load(z, 2 * width)))
        store(c, 0, state)
        store(h, 0, gate(load(z, 3 * width)) * activation(state))

    return update


@inlined
def _usual(z: int, width: int, c: int, h: int) -> None:
    """The same for sigmoid and tanh, with three divisions instead of five."""
    e = tanh_numerator(load(z, 2 * width))
    state = load(c, 0) / sigmoid_denominator(load(z, width)) + e / (sigmoid_denominator(load(z, 0)) * (e + 2.0))
    store(c, 0, state)
    e = tanh_numerator(state)
    store(h, 0, e / (sigmoid_denominator(load(z, 3 * width)) * (e + 2.0)))


_hard = updater(hard_sigmoid, tanh)
_relu, _hard_relu = updater(sigmoid, relu), updater(hard_sigmoid, relu)


@compiled
def _any(z: int, width: int, c: int, h: int, gate: int, code: int) -> None:
    alpha, beta = default_alpha(gate), default_alpha(code)
    i, forget = activated(gate, load(z, 0), alpha), activated(gate, load(z, width), alpha)
    state = fma(forget, load(c, 0), i * activated(code, load(z, 2 * width), beta))
    store(c, 0, state)
    store(h, 0, activated(gate, load(z, 3 * width), alpha) * activated(code, state, beta))


@compiled
def _visit(f, w, cell, which, first, rows, panel, panels, width, vectors):  # type: ignore[no-untyped-def]
    s, features = cell
    states, h = (w.states2, w.h_even) if s & 1 else (w.states, w.h_odd)
    offset = 4 * LANES * GATES * panel
    z_row = 4 * LANES * vectors * panels
    tile(
        which, w.tile, z_row, w.z + 8 * first, offset,
        w.x + 8 * first, f.kernel + offset * f.features, features,
        states + 8 * first, f.recurrent + offset * f.units, f.units,
    )  # fmt: skip
    gate, code, z_panel, at = f.recurrent_activation, f.activation, 4 * LANES * vectors, 4 * LANES * panel
    for slot in range(first, first + rows):
        for block in range(panels):
            z = w.tile + (slot - first) * z_row + block * z_panel
            unit = slot * w.row + at + 4 * LANES * block
            c, to = w.extra + unit, h + unit
            if gate == SIGMOID and code == TANH:
                _usual(z, width, c, to)
            elif gate == HARD_SIGMOID and code == TANH:
                _hard(z, width, c, to)
            elif gate == SIGMOID and code == RELU:
                _relu(z, width, c, to)
            elif gate == HARD_SIGMOID and code == RELU:
                _hard_relu(z, width, c, to)
            else:
                _any(z, width, c, to, gate, code)


_sweep = sweeper(GATES, _visit)


@compiled
def _start(f, w):  # type: ignore[no-untyped-def]
    states_in(f, w, w.extra, f.c0)


@compiled
def _project_chunk(f, w, pairs):  # type: ignore[no-untyped-def]
    _project(w.pairs, pairs, f.features, f.units, f.kernel, w.biases, w.chunk, 4 * _columns(f.units))


@compiled
def _prepare(f, w, slot, z):  # type: ignore[no-untyped-def]
    store_int(w.z, slot, z if z else f.bias)


@compiled
def _step(f, w, rows, s, features):  # type: ignore[no-untyped-def]
    _sweep(f, w, (s, features), rows, s & 1)


@compiled
def _finish(f, w):  # type: ignore[no-untyped-def]
    if f.c_out:
        for slot in range(f.rows):
            copy(f.c_out + 4 * load_int(w.order, slot) * f.out_row, w.extra + slot * w.row, f.units)


_columns = columns_of(GATES)
_drive = driver(_columns, _start, _project_chunk, _prepare, _step, _finish)


@kernel(*FIELDS)
def lstm(f: Any) -> None:
    """LSTM over a block of rows."""
    _drive(f)
