"""Kernels that go through memory once: lookups, masks, activations and arithmetic element by element, copies."""

from __future__ import annotations

from typing import Any

from ..program.contracts.elementwise import MASK_OPS, MERGE_OPS
from .activation import RELU, SIGMOID, TANH, activated, relu
from .along_units import softmax as softmax_row
from .elementary import sigmoid, tanh
from .flags import compiled
from .memory import clear, copy, load, load_byte, load_first, load_int32, load_part, store_byte, store_part
from .registry import kernel
from .target import LANES
from .vector import any_true, select, splat

ADD, SUBTRACT, MULTIPLY, MAXIMUM = (MERGE_OPS[name] for name in ("add", "subtract", "multiply", "maximum"))
AND = MASK_OPS["and"]


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
def mask_combine(f: Any) -> None:
    """y = a op b, ``size`` bytes a row."""
    for i in range(f.rows * f.size):
        a, b = load_byte(f.a, i), load_byte(f.b, i)
        store_byte(f.y, i, a | b if f.op != AND else a & b)


@kernel
def activate(f: Any) -> None:
    """y = activation(x) for ``size`` elements of each row; ``alpha`` is the slope of leaky_relu and the factor of elu."""
    x, y, size, code, alpha = f.x, f.y, f.rows * f.size, f.activation, f.alpha
    for i in range(0, size, LANES):
        value = load_part(x, i, size - i)
        if code == TANH:
            value = tanh(value)
        elif code == SIGMOID:
            value = sigmoid(value)
        elif code == RELU:
            value = relu(value)
        else:
            value = activated(code, value, alpha)
        store_part(y, i, value, size - i)


@kernel
def normalise(f: Any) -> None:
    """(x - mean) * factor + offset, by feature."""
    size = f.features
    for r in range(f.rows * f.steps):
        x, y = f.x + 4 * r * size, f.y + 4 * r * size
        for i in range(0, size, LANES):
            left = size - i
            value = (load_part(x, i, left) - load_part(f.mean, i, left)) * load_part(f.factor, i, left) + load_part(f.offset, i, left)
            store_part(y, i, value, left)


@kernel
def merge(f: Any) -> None:
    """y = (a op b) * scale; the minimum is what no other ``op`` says."""
    size, op, scale = f.rows * f.size, f.op, splat(f.scale)
    for i in range(0, size, LANES):
        a, b = load_part(f.a, i, size - i), load_part(f.b, i, size - i)
        if op == ADD:
            v = a + b
        elif op == SUBTRACT:
            v = a - b
        elif op == MULTIPLY:
            v = a * b
        elif op == MAXIMUM:
            v = select(a > b, a, select(a != a, a, b))
        else:
            v = select(a < b, a, select(a != a, a, b))
        store_part(f.y, i, v * scale, size - i)


@kernel
def softmax(f: Any) -> None:
    """exp(x - max) / sum over the features of each step."""
    size = f.features
    for r in range(f.rows * f.steps):
        softmax_row(f.y + 4 * r * size, f.x + 4 * r * size, size)


@kernel
def repeat(f: Any) -> None:
    """y[row, n] = x[row] for n < times."""
    for r in range(f.rows):
        for n in range(f.times):
            copy(f.y + 4 * (r * f.times + n) * f.size, f.x + 4 * r * f.size, f.size)


@kernel
def place(f: Any) -> None:
    """Copy ``steps`` pieces of ``width`` floats a row, each side with its own strides."""
    for r in range(f.rows):
        for t in range(f.steps):
            copy(f.y + 4 * (r * f.y_row + t * f.y_step), f.x + 4 * (r * f.x_row + t * f.x_step), f.width)


@kernel
def carry(f: Any) -> None:
    """y[row, step] = x[row, step], or where the mask is 0 what the step before had."""
    for r in range(f.rows):
        before = 0
        for t in range(f.steps):
            n = r * f.steps + t
            y = f.y + 4 * n * f.width
            if load_byte(f.mask, n) != 0:
                copy(y, f.x + 4 * n * f.width, f.width)
            elif before:
                copy(y, before, f.width)
            else:
                clear(y, f.width)
            before = y
