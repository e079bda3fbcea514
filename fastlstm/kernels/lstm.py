"""LSTM: i, f, o = recurrent_activation(...), c = f * c + i * activation(...), h = o * activation(c) (Hochreiter and Schmidhuber
1997, with the forget gate of Gers et al. 2000). Gates in file order: i f c o."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .activation import HARD_SIGMOID, RELU, SIGMOID, TANH, activated, default_alpha, hard_sigmoid, relu
from .elementary import fma, inlined, sigmoid, sigmoid_denominator, tanh, tanh_numerator
from .panels import ONE, ZERO, columns_of, compiled, paired, projector, sweeper
from .registry import kernel
from .sequence import copy, driver, states_in
from .target import LANES
from .tile import tile
from .vector import load_int, store_int

GATES = 4
_project = projector(GATES)


class Blocks(NamedTuple):
    """Blocks of units, of several rows or side by side in one: addresses of the first, and bytes from one to the next."""

    count: int
    z: int  # the tile's result
    z_step: int
    width: int  # columns of a gate
    c: int
    h: int
    step: int  # of c and h
    gate: int  # codes of activations
    code: int


def updater(carry: Callable[..., Any], output: Callable[..., Any], how: Callable[..., Any] = inlined) -> Callable[..., None]:
    """A function that updates blocks: first all their c, then all their h."""

    def carries(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):  # type: ignore[no-untyped-def]
            z, c = b.z + n * b.z_step, b.c + n * b.step
            i, f, g = load(z, b.z_step, 0), load(z, b.z_step, b.width), load(z, b.z_step, 2 * b.width)
            store(c, b.step, 0, carry(b, i, f, g, load(c, b.step, 0)))

        return block

    def outputs(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):  # type: ignore[no-untyped-def]
            z, at = b.z + n * b.z_step, n * b.step
            store(b.h + at, b.step, 0, output(b, load(z, b.z_step, 3 * b.width), load(b.c + at, b.step, 0)))

        return block

    every_c, every_h = paired(carries, how), paired(outputs, how, fetching=False)

    @how
    def update(b, t):  # type: ignore[no-untyped-def]
        every_c(b, t)
        every_h(b, t)

    return update


def known(gate: Callable[[Any], Any], activation: Callable[[Any], Any]) -> Callable[..., None]:
    """The updater for activations known at compile time."""

    @inlined
    def carry(b, i, f, g, c):  # type: ignore[no-untyped-def]
        return fma(gate(f), c, gate(i) * activation(g))

    @inlined
    def output(b, o, c):  # type: ignore[no-untyped-def]
        return gate(o) * activation(c)

    return updater(carry, output)


@inlined
def _carry_usual(b, i, f, g, c):  # type: ignore[no-untyped-def]
    """With two divisions instead of three."""
    e = tanh_numerator(g)
    return c / sigmoid_denominator(f) + e / (sigmoid_denominator(i) * (e + 2.0))


@inlined
def _output_usual(b, o, c):  # type: ignore[no-untyped-def]
    e = tanh_numerator(c)
    return e / (sigmoid_denominator(o) * (e + 2.0))


@inlined
def _carry_any(b, i, f, g, c):  # type: ignore[no-untyped-def]
    alpha = default_alpha(b.gate)
    return fma(activated(b.gate, f, alpha), c, activated(b.gate, i, alpha) * activated(b.code, g, default_alpha(b.code)))


@inlined
def _output_any(b, o, c):  # type: ignore[no-untyped-def]
    return activated(b.gate, o, default_alpha(b.gate)) * activated(b.code, c, default_alpha(b.code))


_usual, _hard = updater(_carry_usual, _output_usual), known(hard_sigmoid, tanh)
_relu, _hard_relu = known(sigmoid, relu), known(hard_sigmoid, relu)
_any = updater(_carry_any, _output_any, compiled)


@inlined
def _visit(f, w, cell, t):  # type: ignore[no-untyped-def]
    s, features = cell
    states, h = (w.states2, w.h_even) if s & 1 else (w.states, w.h_odd)
    offset = 4 * LANES * GATES * t.panel
    z_row = 4 * LANES * t.vectors * t.panels
    tile(
        t.which, w.tile, z_row, w.z + 8 * t.first, offset,
        w.x + 8 * t.first, f.kernel + offset * f.features, features,
        states + 8 * t.first, f.recurrent + offset * f.units, f.units, t.fetched,
    )  # fmt: skip
    gate, code, at = f.recurrent_activation, f.activation, t.first * w.row + 4 * LANES * t.panel
    # Several rows, or several panels of one.
    count, z_step, step = (t.panels, 4 * LANES * t.vectors, ONE * 4 * LANES) if t.panels > 1 else (t.rows, z_row, w.row)
    b = Blocks(count, w.tile, z_step, t.width, w.extra + at, h + at, step, gate, code)
    if gate == SIGMOID and code == TANH:
        _usual(b, t)
    elif gate == HARD_SIGMOID and code == TANH:
        _hard(b, t)
    elif gate == SIGMOID and code == RELU:
        _relu(b, t)
    elif gate == HARD_SIGMOID and code == RELU:
        _hard_relu(b, t)
    else:
        _any(b, t)


_sweep = sweeper(GATES, _visit)


@compiled
def _start(f, w):  # type: ignore[no-untyped-def]
    if f.member == 0:
        states_in(f, w, w.extra, f.c0)


@compiled
def _project_chunk(f, w, pairs):  # type: ignore[no-untyped-def]
    _project(f, w.pairs, pairs, f.kernel, w.biases, w.chunk, 4 * _columns(f.units))


@compiled
def _prepare(f, w, slot, z):  # type: ignore[no-untyped-def]
    store_int(w.z, slot, z if z else f.bias)


@compiled
def _step(f, w, rows, s, features):  # type: ignore[no-untyped-def]
    _sweep(f, w, (s, features), rows, s & 1, ZERO, 4 * (_columns(f.units) if f.table else features))


@compiled
def _finish(f, w):  # type: ignore[no-untyped-def]
    if f.c_out:
        for slot in range(f.rows):
            copy(f.c_out + 4 * load_int(w.order, slot) * f.out_row, w.extra + slot * w.row, f.units)


_columns = columns_of(GATES)
_drive = driver(_columns, _start, _project_chunk, _prepare, _step, _finish)


@kernel
def lstm(f: Any) -> None:
    """LSTM over a block of rows."""
    _drive(f)
