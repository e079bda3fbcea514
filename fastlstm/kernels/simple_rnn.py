"""SimpleRNN: h = activation(x W + b + h U) (Elman 1990)."""

from __future__ import annotations

from typing import Any

from ..program.contracts.recurrent import SIMPLE_RNN_GATES
from .activation import RELU, TANH, activated, relu
from .along_units import activate_row, along_units, keep, kept_at, mine
from .elementary import tanh
from .flags import ZERO, compiled
from .memory import copy, load, store
from .registry import kernel
from .sequence import inputs_at, one_product, states_at, states_of
from .sweep import Operand, columns_of, fetch, multiply
from .target import LANES

_columns = columns_of(SIMPLE_RNN_GATES)


@compiled
def _visit(f, w, step, t):
    states = states_of(w, step)
    x, before = Operand(inputs_at(t, w), f.kernel, step.features), Operand(states_at(t, w, states), f.recurrent, f.units)
    multiply(t, w.result, w.sums_at, x, before)
    if along_units(f):
        for n in range(t.rows):
            keep(f, _columns(f), t, n, w.result + n * t.row, ZERO)
        return
    code, alpha = f.activation, f.alpha
    for slot in range(t.first, t.first + t.rows):
        n = slot - t.first
        fetch(t, n)
        z, h = w.result + n * t.row, states.after + slot * w.row + t.unit
        for i in range(0, LANES * t.vectors * t.panels, LANES):
            if code == TANH:
                store(h, i, tanh(load(z, i)))
            elif code == RELU:
                store(h, i, relu(load(z, i)))
            else:
                store(h, i, activated(code, load(z, i), alpha))


@compiled
def _by_rows(f, w, rows, step):
    """The states of whole rows."""
    first, last = mine(f, rows)
    states = states_of(w, step)
    for slot in range(first, last):
        z = kept_at(f, _columns(f), slot)
        activate_row(f.activation, f.alpha, z, f.units)
        copy(states.after + slot * w.row, z, f.units)


_simple_rnn = one_product(SIMPLE_RNN_GATES, _visit, _by_rows)


@kernel
def simple_rnn(f: Any) -> None:
    """SimpleRNN over a block of rows."""
    _simple_rnn(f)
