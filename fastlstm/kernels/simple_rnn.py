"""SimpleRNN: h = activation(x W + b + h U) (Elman 1990)."""

from __future__ import annotations

from typing import Any

from ..program.contracts.recurrent import SIMPLE_RNN_GATES
from .activation import RELU, TANH, activated, default_alpha, relu
from .elementary import tanh
from .flags import compiled
from .memory import load, store
from .registry import kernel
from .sequence import one_product, states_of
from .sweep import Operand, fetch, multiply
from .target import LANES


@compiled
def _visit(f, w, step, t):
    states = states_of(w, step)
    multiply(t, w.result, w.sums_at, Operand(w.x_at, f.kernel, step.features), Operand(states.at, f.recurrent, f.units))
    code = f.activation
    alpha = default_alpha(code)
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


_simple_rnn = one_product(SIMPLE_RNN_GATES, _visit)


@kernel
def simple_rnn(f: Any) -> None:
    """SimpleRNN over a block of rows."""
    _simple_rnn(f)
