"""Kernels that go through memory once: embeddings, masks, element-wise work, copies."""

from __future__ import annotations

from typing import Any

from .activation import RELU, SIGMOID, TANH, activated, relu
from .elementary import exp, sigmoid, tanh
from .panels import compiled
from .registry import kernel
from .sequence import clear, copy
from .target import LANES
from .vector import any_true, largest, load, load_byte, load_first, load_int32, select, splat, store, store_byte, store_first, total


@compiled
def _load(x: int, i: int, left: int) -> Any:
    return load(x, i) if left >= LANES else load_first(x, i, left, 0.0)


@compiled
def _store(y: int, i: int, value: Any, left: int) -> None:
    if left >= LANES:
        store(y, i, value)
    else:
        store_first(y, i, value, left)


@kernel
def embedding(f: Any) -> None:
    """y[row, step] = table[ids[row, step]]."""
    for r in range(f.rows):
        for t in range(f.steps):
            # Whatever has become of the caller's array since it was checked: the table ends there.
            number = min(max(load_int32(f.ids, r * f.ids_row + t), 0), f.vocabulary - 1)
            copy(f.y + 4 * (r * f.y_row + t * f.features), f.table + 4 * number * f.features, f.features)


@kernel
def mask_ids(f: Any) -> None:
    """mask[row, step] = ids[row, step] != 0."""
    for r in range(f.rows):
        for t in range(f.steps):
            store_byte(f.mask, r * f.steps + t, 1 if load_int32(f.ids, r * f.ids_row + t) != 0 else 0)


@compiled
def _differs(x: int, size: int, value: float) -> bool:
    for i in range(0, size & -LANES, LANES):
        if any_true(load(x, i) != splat(value)):
            return True
    whole = size & -LANES
    return whole < size and any_true(load_first(x, whole, size - whole, value) != splat(value))


@kernel
def masking(f: Any) -> None:
    """mask[row, step] = any(x[row, step] != value); y is x with zeros at masked steps."""
    features, value = f.features, f.value
    for i in range(f.rows * f.steps):
        x, y = f.x + 4 * i * features, f.y + 4 * i * features
        if value != value or _differs(x, features, value):
            store_byte(f.mask, i, 1)
            copy(y, x, features)
        else:
            store_byte(f.mask, i, 0)
            clear(y, features)


@kernel
def activate(f: Any) -> None:
    """y = activation(x) for ``size`` elements of each row; ``alpha`` is the slope of leaky_relu and the factor of elu."""
    x, y, size, code, alpha = f.x, f.y, f.rows * f.size, f.activation, f.alpha
    for i in range(0, size, LANES):
        value = _load(x, i, size - i)
        if code == TANH:
            value = tanh(value)
        elif code == SIGMOID:
            value = sigmoid(value)
        elif code == RELU:
            value = relu(value)
        else:
            value = activated(code, value, alpha)
        _store(y, i, value, size - i)


@kernel
def softmax(f: Any) -> None:
    """exp(x - max) / sum over the features of each step."""
    size = f.features
    for r in range(f.rows * f.steps):
        x, y = f.x + 4 * r * size, f.y + 4 * r * size
        tops = splat(float("-inf"))
        for i in range(0, size, LANES):
            v = load_first(x, i, min(size - i, LANES), float("-inf"))
            tops = select(v > tops, v, tops)
        top = splat(largest(tops))
        sums = splat(0.0)
        for i in range(0, size, LANES):
            left = min(size - i, LANES)
            v = exp(load_first(x, i, left, float("-inf")) - top)
            sums = sums + v
            store_first(y, i, v, left)
        whole = splat(total(sums))
        for i in range(0, size, LANES):
            left = min(size - i, LANES)
            store_first(y, i, load_first(y, i, left, 0.0) / whole, left)


@kernel
def repeat(f: Any) -> None:
    """y[row, n] = x[row] for n < times."""
    for r in range(f.rows):
        for n in range(f.times):
            copy(f.y + 4 * (r * f.times + n) * f.size, f.x + 4 * r * f.size, f.size)


@kernel
def merge(f: Any) -> None:
    """y = (a op b) * scale; op: 0 add, 1 subtract, 2 multiply, 3 maximum, 4 minimum, 5 average."""
    size, op, scale = f.rows * f.size, f.op, splat(f.scale)
    for i in range(0, size, LANES):
        a, b = _load(f.a, i, size - i), _load(f.b, i, size - i)
        if op == 0:
            v = a + b
        elif op == 1:
            v = a - b
        elif op == 2:
            v = a * b
        elif op == 3:
            v = select(a > b, a, select(a != a, a, b))
        elif op == 4:
            v = select(a < b, a, select(a != a, a, b))
        else:
            v = (a + b) * 0.5
        _store(f.y, i, v * scale, size - i)


@kernel
def place(f: Any) -> None:
    """Copy ``steps`` pieces of ``width`` floats a row, each side with its own strides."""
    for r in range(f.rows):
        for t in range(f.steps):
            copy(f.y + 4 * (r * f.y_row + t * f.y_step), f.x + 4 * (r * f.x_row + t * f.x_step), f.width)


@kernel
def mask_combine(f: Any) -> None:
    """y = a and b (op 0) or a or b (op 1), ``size`` bytes a row."""
    for i in range(f.rows * f.size):
        a, b = load_byte(f.a, i), load_byte(f.b, i)
        store_byte(f.y, i, a | b if f.op else a & b)
