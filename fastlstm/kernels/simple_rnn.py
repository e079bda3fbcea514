"""SimpleRNN: h = activation(x W + b + h U) (Elman 1990)."""

from __future__ import annotations

from typing import Any

from .activation import RELU, TANH, activated, default_alpha, relu
from .elementary import tanh
from .panels import ZERO, columns_of, compiled, fetch, projector, sweeper
from .registry import kernel
from .sequence import driver
from .target import LANES
from .tile import tile
from .vector import load, store, store_int

_project, _columns = projector(1), columns_of(1)


@compiled
def _visit(f, w, cell, t):  # type: ignore[no-untyped-def]
    s, features = cell
    states, after = (w.states2, w.h_even) if s & 1 else (w.states, w.h_odd)
    offset = 4 * LANES * 4 * t.panel
    z_row = 4 * LANES * t.vectors * t.panels
    tile(
        t.which, w.tile, z_row, w.z + 8 * t.first, offset,
        w.x + 8 * t.first, f.kernel + offset * f.features, features,
        states + 8 * t.first, f.recurrent + offset * f.units, f.units, t.fetched,
    )  # fmt: skip
    code = f.activation
    beta = default_alpha(code)
    for slot in range(t.first, t.first + t.rows):
        fetch(t, slot - t.first)
        z, h = w.tile + (slot - t.first) * z_row, after + slot * w.row + offset
        for i in range(0, LANES * t.vectors * t.panels, LANES):
            if code == TANH:
                store(h, i, tanh(load(z, i)))
            elif code == RELU:
                store(h, i, relu(load(z, i)))
            else:
                store(h, i, activated(code, load(z, i), beta))


_sweep = sweeper(1, _visit)


@compiled
def _nothing(f, w):  # type: ignore[no-untyped-def]
    return


@compiled
def _project_chunk(f, w, pairs):  # type: ignore[no-untyped-def]
    _project(f, w.pairs, pairs, f.kernel, w.biases, w.chunk, 4 * _columns(f.units))


@compiled
def _prepare(f, w, slot, z):  # type: ignore[no-untyped-def]
    store_int(w.z, slot, z if z else f.bias)


@compiled
def _step(f, w, rows, s, features):  # type: ignore[no-untyped-def]
    _sweep(f, w, (s, features), rows, s & 1, ZERO, 4 * (_columns(f.units) if f.table else features))


_drive = driver(_columns, _nothing, _project_chunk, _prepare, _step, _nothing)


@kernel
def simple_rnn(f: Any) -> None:
    """SimpleRNN over a block of rows."""
    _drive(f)
