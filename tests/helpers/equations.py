"""Slow truth in float64 that imports nothing of fastlstm: one row, one step, one number at a time, from the papers' equations.

Gates lie in Keras's order: LSTM i f c o, GRU z r h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Scalar = Callable[[float], float]


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))


def hard_sigmoid(v: float) -> float:
    return min(max(0.2 * v + 0.5, 0.0), 1.0)


def hard_sigmoid_keras3(v: float) -> float:
    return min(max(v + 3, 0.0), 6.0) / 6


def relu(v: float) -> float:
    return max(v, 0.0)


def linear(v: float) -> float:
    return v


ACTIVATIONS: dict[str, Scalar] = {
    "tanh": math.tanh,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "hard_sigmoid_keras3": hard_sigmoid_keras3,
    "relu": relu,
    "linear": linear,
}


def weighted(vector: Sequence[float], matrix: np.ndarray, column: int) -> float:
    return sum(float(v) * float(matrix[k, column]) for k, v in enumerate(vector))


def lstm_step(x, state, weights, activation: Scalar, recurrent_activation: Scalar):
    """(h, c) after one step; weights (kernel, recurrent_kernel) or with bias."""
    kernel, recurrent, *rest = weights
    h, c = state
    units = recurrent.shape[0]
    bias = rest[0] if rest else np.zeros(4 * units)

    def gate(number: int, unit: int) -> float:
        column = number * units + unit
        return weighted(x, kernel, column) + weighted(h, recurrent, column) + float(bias[column])

    new_h, new_c = [], []
    for unit in range(units):
        i = recurrent_activation(gate(0, unit))
        f = recurrent_activation(gate(1, unit))
        o = recurrent_activation(gate(3, unit))
        new_c.append(f * c[unit] + i * activation(gate(2, unit)))
        new_h.append(o * activation(new_c[-1]))
    return new_h, new_c


def gru_step(x, state, weights, activation: Scalar, recurrent_activation: Scalar, reset_after: bool):
    """(h,) after one step; with reset_after the bias has two rows."""
    kernel, recurrent, *rest = weights
    (h,) = state
    units = recurrent.shape[0]
    bias = rest[0] if rest else np.zeros((2, 3 * units) if reset_after else 3 * units)
    b_in, b_rec = bias if reset_after else (bias, np.zeros(3 * units))

    def gate(number: int, unit: int) -> float:
        column = number * units + unit
        z = weighted(x, kernel, column) + float(b_in[column]) + weighted(h, recurrent, column) + float(b_rec[column])
        return recurrent_activation(z)

    resets = [gate(1, unit) for unit in range(units)]
    new_h = []
    for unit in range(units):
        column = 2 * units + unit
        candidate = weighted(x, kernel, column) + float(b_in[column])
        if reset_after:
            candidate += resets[unit] * (weighted(h, recurrent, column) + float(b_rec[column]))
        else:
            candidate += weighted([r * v for r, v in zip(resets, h, strict=True)], recurrent, column)
        z = gate(0, unit)
        new_h.append(z * h[unit] + (1 - z) * activation(candidate))
    return (new_h,)


def simple_rnn_step(x, state, weights, activation: Scalar):
    """(h,) after one step."""
    kernel, recurrent, *rest = weights
    (h,) = state
    units = recurrent.shape[0]
    bias = rest[0] if rest else np.zeros(units)
    return ([activation(weighted(x, kernel, u) + weighted(h, recurrent, u) + float(bias[u])) for u in range(units)],)


def run(step, x, mask, states, *, units: int, backwards: bool = False, fill: str = "repeat", head: str = "zeros"):
    """Carry ``step`` along time, row by row.

    Parameters
    ----------
    step : callable
        (x_t, states) -> states, of which the first is the output.
    x : ndarray, shape (rows, steps, features)
    mask : ndarray of bool, shape (rows, steps), or None
    states : sequence of ndarray, shape (rows, units)
    fill : {"repeat", "zeros"}
        What masked steps emit.
    head : {"zeros", "state"}
        What masked steps before the first valid one repeat.

    Returns
    -------
    tuple of ndarray
        Outputs in order of processing (rows, steps, units), output of the last step, final states.
    """
    outputs = np.zeros((len(x), x.shape[1], units))
    finals = [np.zeros((len(x), np.shape(state)[1])) for state in states]
    for row in range(len(x)):
        state = tuple([float(v) for v in s[row]] for s in states)
        emitted = list(state[0]) if head == "state" else [0.0] * units
        order = range(x.shape[1] - 1, -1, -1) if backwards else range(x.shape[1])
        for place, t in enumerate(order):
            if mask is None or mask[row, t]:
                state = step([float(v) for v in x[row, t]], state)
                emitted = list(state[0])
            elif fill == "zeros":
                emitted = [0.0] * units
            outputs[row, place] = emitted
        for final, values in zip(finals, state, strict=True):
            final[row] = values
    return outputs, outputs[:, -1], finals


def dense(x, kernel, bias, activation: Scalar = linear):
    """activation(x W + b) on the last axis."""
    flat = x.reshape(-1, x.shape[-1])
    offset = np.zeros(kernel.shape[1]) if bias is None else bias
    out = [[activation(weighted(row, kernel, j) + float(offset[j])) for j in range(kernel.shape[1])] for row in flat]
    return np.array(out).reshape(*x.shape[:-1], kernel.shape[1])


def conv1d(x, kernel, bias, stride: int = 1, dilation: int = 1, padding: str = "valid", groups: int = 1):
    """Cross-correlation along time, kernel (size, channels / groups, filters)."""
    size, per_group, filters = kernel.shape
    reach = (size - 1) * dilation + 1
    steps = x.shape[1]
    if padding == "causal":
        before, count = reach - 1, -(-steps // stride)
    elif padding == "same":
        count = -(-steps // stride)
        before = max((count - 1) * stride + reach - steps, 0) // 2
    else:
        before, count = 0, max(-(-(steps - reach + 1) // stride), 0)
    out = np.zeros((len(x), count, filters))
    for row in range(len(x)):
        for place in range(count):
            for filter_ in range(filters):
                group = filter_ // (filters // groups)
                total = 0.0 if bias is None else float(bias[filter_])
                for k in range(size):
                    t = place * stride - before + k * dilation
                    if 0 <= t < steps:
                        total += sum(float(x[row, t, group * per_group + c]) * float(kernel[k, c, filter_]) for c in range(per_group))
                out[row, place, filter_] = total
    return out
