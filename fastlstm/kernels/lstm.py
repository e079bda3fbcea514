"""LSTM: i, f, o = recurrent_activation(...), c = f * c + i * activation(...), h = o * activation(c) (Hochreiter and Schmidhuber
1997, with the forget gate of Gers et al. 2000). Gates in file order: i f c o."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..program.contracts.recurrent import LSTM_GATES
from .activation import HARD_SIGMOID, RELU, SIGMOID, TANH, hard_sigmoid, relu
from .along_units import activate_row, along_units, keep, kept_at, mine, unpack, unpacked_at
from .blocks import activation_by_code, always, blocks_of, gate_by_code, paired
from .elementary import fma, sigmoid, sigmoid_denominator, tanh, tanh_numerator
from .flags import ONE, ZERO, compiled, inlined
from .memory import copy, load_int, load_part, store_part
from .registry import kernel
from .sequence import inputs_at, one_product, states_at, states_in, states_of
from .sweep import Operand, columns_of, multiply
from .target import LANES


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
    gate_alpha: float  # and their parameters
    alpha: float


def updater(carry: Callable[..., Any], output: Callable[..., Any], how: Callable[..., Any] = inlined) -> Callable[..., None]:
    """A function that updates blocks: first all their c by ``carry(b, i, f, g, c)``, then all their h by ``output(b, o, c)``."""

    def carries(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):
            z, c = b.z + n * b.z_step, b.c + n * b.step
            i, f, g = load(z, b.z_step, 0), load(z, b.z_step, b.width), load(z, b.z_step, 2 * b.width)
            store(c, b.step, 0, carry(b, i, f, g, load(c, b.step, 0)))

        return block

    def outputs(load: Any, store: Any) -> Callable[..., None]:
        @how
        def block(b, n):
            z, at = b.z + n * b.z_step, n * b.step
            store(b.h + at, b.step, 0, output(b, load(z, b.z_step, 3 * b.width), load(b.c + at, b.step, 0)))

        return block

    every_c, every_h = paired(carries, how), paired(outputs, how, fetching=False)

    @how
    def update(b, t):
        every_c(b, t)
        every_h(b, t)

    return update


def by_equations(gate: Callable[..., Any], activation: Callable[..., Any], how: Callable[..., Any] = inlined) -> Callable[..., None]:
    """The updater that computes the equations as they are written."""

    @inlined
    def carry(b, i, f, g, c):
        return fma(gate(b, f), c, gate(b, i) * activation(b, g))

    @inlined
    def output(b, o, c):
        return gate(b, o) * activation(b, c)

    return updater(carry, output, how)


@inlined
def _carry(b, i, f, g, c):
    """The same with sigmoid and tanh in two divisions instead of three."""
    e = tanh_numerator(g)
    return c / sigmoid_denominator(f) + e / (sigmoid_denominator(i) * (e + 2.0))


@inlined
def _output(b, o, c):
    """In one division instead of two."""
    e = tanh_numerator(c)
    return e / (sigmoid_denominator(o) * (e + 2.0))


_usual, _hard = updater(_carry, _output), by_equations(always(hard_sigmoid), always(tanh))
_relu, _hard_relu = by_equations(always(sigmoid), always(relu)), by_equations(always(hard_sigmoid), always(relu))
_any = by_equations(gate_by_code, activation_by_code, compiled)
_columns = columns_of(LSTM_GATES)


@inlined
def update(b, t):
    """Update blocks by the equations of their activations."""
    if b.gate == SIGMOID and b.code == TANH:
        _usual(b, t)
    elif b.gate == HARD_SIGMOID and b.code == TANH:
        _hard(b, t)
    elif b.gate == SIGMOID and b.code == RELU:
        _relu(b, t)
    elif b.gate == HARD_SIGMOID and b.code == RELU:
        _hard_relu(b, t)
    else:
        _any(b, t)


@inlined
def _visit(f, w, step, t):
    states = states_of(w, step)
    x, h = Operand(inputs_at(t, w), f.kernel, step.features), Operand(states_at(t, w, states), f.recurrent, f.units)
    multiply(t, w.result, w.sums_at, x, h)
    at = t.first * w.row + t.unit
    walk = blocks_of(t, w)
    gate, code = f.recurrent_activation, f.activation
    b = Blocks(
        walk.count, w.result, walk.gates, t.width, w.held + at, states.after + at, walk.units, gate, code, f.recurrent_alpha, f.alpha
    )
    if along_units(f):
        for n in range(t.rows):
            keep(f, _columns(f), t, n, w.result + n * t.row, ZERO)
    else:
        update(b, t)


@compiled
def _by_rows(f, w, rows, step):
    """The gates and states of whole rows."""
    first, last = mine(f, rows)
    states, units = states_of(w, step), f.units
    for slot in range(first, last):
        gates, row = unpacked_at(f, _columns(f), slot), slot * w.row
        size = unpack(gates, kept_at(f, _columns(f), slot), units, ONE * LSTM_GATES)
        i, forget, g, o, carried = gates, gates + size, gates + 2 * size, gates + 3 * size, gates + 4 * size
        activate_row(f.recurrent_activation, f.recurrent_alpha, i, units)
        activate_row(f.recurrent_activation, f.recurrent_alpha, forget, units)
        activate_row(f.recurrent_activation, f.recurrent_alpha, o, units)
        activate_row(f.activation, f.alpha, g, units)
        c, h = w.held + row, states.after + row
        for u in range(0, units, LANES):
            left = units - u
            value = fma(load_part(forget, u, left), load_part(c, u, left), load_part(i, u, left) * load_part(g, u, left))
            store_part(c, u, value, left)
            store_part(carried, u, value, left)
        activate_row(f.activation, f.alpha, carried, units)
        for u in range(0, units, LANES):
            store_part(h, u, load_part(o, u, units - u) * load_part(carried, u, units - u), units - u)


@compiled
def _fetch_c(f, w):
    if f.member == 0:
        states_in(f, w, w.held, f.c0)


@compiled
def _deliver_c(f, w):
    if f.c_out:
        for slot in range(f.rows):
            copy(f.c_out + 4 * load_int(w.row_of, slot) * f.out_row, w.held + slot * w.row, f.units)


_lstm = one_product(LSTM_GATES, _visit, _by_rows, _fetch_c, _deliver_c)


@kernel
def lstm(f: Any) -> None:
    """LSTM over a block of rows."""
    _lstm(f)
