"""Arithmetic element by element, of two tensors with broadcasting and of one."""

from __future__ import annotations

from typing import Any

from ..program.contracts.arithmetic import BINARY_OPS, UNARY_OPS
from .elementary import at_least, at_most, exp, expm1, log, log1p, magnitude
from .flags import compiled, inlined
from .memory import load_byte, load_float, load_int32, load_part, stack, store_byte, store_float, store_part
from .registry import kernel
from .target import LANES
from .vector import INFINITY, ceil, floor, fma, nearest, select, splat, sqrt

ADD, SUBTRACT, MULTIPLY, DIVIDE, FLOOR_DIVIDE, MAXIMUM, MINIMUM, SQUARED_DIFFERENCE = (
    BINARY_OPS[name]
    for name in ("add", "subtract", "multiply", "divide", "floor_divide", "maximum", "minimum", "squared_difference")
)  # fmt: skip
EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL = (
    BINARY_OPS[name] for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
)
AND, OR = (BINARY_OPS[f"logical_{name}"] for name in ("and", "or"))
NEGATIVE, ABSOLUTE, SQUARE, SQRT, RSQRT, RECIPROCAL = (
    UNARY_OPS[name] for name in ("negative", "absolute", "square", "sqrt", "rsqrt", "reciprocal")
)
EXP, LOG, LOG1P, EXPM1, SIGN = (UNARY_OPS[name] for name in ("exp", "log", "log1p", "expm1", "sign"))
FLOOR, CEIL, ROUND = (UNARY_OPS[name] for name in ("floor", "ceil", "round"))
NOT, IS_NAN, IS_INF, IS_FINITE, CLIP = (UNARY_OPS[name] for name in ("logical_not", "isnan", "isinf", "isfinite", "clip"))

_number = stack(64)


@inlined
def truth(condition: Any) -> Any:
    """1 where a condition holds, else 0."""
    return select(condition, splat(1.0), splat(0.0))


@inlined
def greater_of(a: Any, b: Any) -> Any:
    """The maximum; NaN where either is."""
    return select(a != a, a, select(a > b, a, b))  # the inner one is one instruction


@inlined
def lesser_of(a: Any, b: Any) -> Any:
    """The minimum; NaN where either is."""
    return select(a != a, a, select(a < b, a, b))


@compiled
def _combined_otherwise(op: int, a: Any, b: Any) -> Any:
    if op == FLOOR_DIVIDE:
        return floor(a / b)
    if op == MAXIMUM:
        return greater_of(a, b)
    if op == MINIMUM:
        return lesser_of(a, b)
    if op == SQUARED_DIFFERENCE:
        return (a - b) * (a - b)
    if op == EQUAL:
        return truth(a == b)
    if op == NOT_EQUAL:
        return truth(a != b)
    if op == LESS:
        return truth(a < b)
    if op == LESS_EQUAL:
        return truth(a <= b)
    if op == GREATER:
        return truth(a > b)
    if op == GREATER_EQUAL:
        return truth(a >= b)
    one, other = truth(a != 0.0), truth(b != 0.0)
    if op == AND:
        return one * other
    if op == OR:
        return at_most(one + other, 1.0)
    return truth(one != other)


@inlined
def _combined(op: int, a: Any, b: Any) -> Any:
    if op == ADD:
        return a + b
    if op == SUBTRACT:
        return a - b
    if op == MULTIPLY:
        return a * b
    if op == DIVIDE:
        return a / b
    return _combined_otherwise(op, a, b)


@compiled
def _line(op: int, a: int, a_step: int, b: int, b_step: int, y: int, size: int) -> None:
    """The last axis, along which a step is 1, or 0 for a number that stays the same."""
    if a_step and b_step:
        for i in range(0, size, LANES):
            store_part(y, i, _combined(op, load_part(a, i, size - i), load_part(b, i, size - i)), size - i)
    elif a_step:
        same = splat(load_float(b, 0))
        for i in range(0, size, LANES):
            store_part(y, i, _combined(op, load_part(a, i, size - i), same), size - i)
    elif b_step:
        same = splat(load_float(a, 0))
        for i in range(0, size, LANES):
            store_part(y, i, _combined(op, same, load_part(b, i, size - i)), size - i)
    else:
        same = _combined(op, splat(load_float(a, 0)), splat(load_float(b, 0)))
        for i in range(0, size, LANES):
            store_part(y, i, same, size - i)


@kernel
def binary(f: Any) -> None:
    """y = a op b with steps along five axes; a number where one of them is missing."""
    op, rows, size = f.op, f.rows, f.n4
    number = _number()
    store_float(number, 0, f.value)
    a, b = f.a if f.a else number, f.b if f.b else number
    outer = f.n0 * f.n1 * f.n2 * f.n3
    if outer == 1 and f.a_row == f.a4 * size and f.b_row == f.b4 * size:
        _line(op, a, f.a4, b, f.b4, f.y, rows * size)
        return
    y = f.y
    for r in range(rows):
        for i in range(f.n0):
            for j in range(f.n1):
                for k in range(f.n2):
                    one = a + 4 * (r * f.a_row + i * f.a0 + j * f.a1 + k * f.a2)
                    other = b + 4 * (r * f.b_row + i * f.b0 + j * f.b1 + k * f.b2)
                    for n in range(f.n3):
                        _line(op, one + 4 * n * f.a3, f.a4, other + 4 * n * f.b3, f.b4, y, size)
                        y += 4 * size


@compiled
def _of_one(op: int, x: Any, alpha: float, beta: float) -> Any:
    if op == NEGATIVE:
        return -x
    if op == ABSOLUTE:
        return magnitude(x)
    if op == SQUARE:
        return x * x
    if op == SQRT:
        return sqrt(x)
    if op == RSQRT:
        return 1.0 / sqrt(x)
    if op == RECIPROCAL:
        return 1.0 / x
    if op == EXP:
        return exp(x)
    if op == LOG:
        return log(x)
    if op == LOG1P:
        return log1p(x)
    if op == EXPM1:
        return expm1(x)
    if op == SIGN:
        return select(x > 0.0, splat(1.0), select(x < 0.0, splat(-1.0), x))
    if op == FLOOR:
        return floor(x)
    if op == CEIL:
        return ceil(x)
    if op == ROUND:
        return nearest(x)
    if op == NOT:
        return truth(x == 0.0)
    if op == IS_NAN:
        return truth(x != x)
    if op == IS_INF:
        return truth(magnitude(x) == INFINITY)
    if op == IS_FINITE:
        return truth(magnitude(x) < INFINITY)
    if op == CLIP:
        return at_most(at_least(x, alpha), beta)
    return fma(x, alpha, beta)


@kernel
def unary(f: Any) -> None:
    """y = op(x) for ``size`` elements of each row."""
    size = f.rows * f.size
    for i in range(0, size, LANES):
        store_part(f.y, i, _of_one(f.op, load_part(f.x, i, size - i), f.alpha, f.beta), size - i)


@kernel
def choose(f: Any) -> None:
    """y = a where the condition is not 0, else b."""
    size = f.rows * f.size
    for i in range(0, size, LANES):
        left = size - i
        a = load_part(f.a, i, left) if f.a else splat(f.a_value)
        b = load_part(f.b, i, left) if f.b else splat(f.b_value)
        store_part(f.y, i, select(load_part(f.condition, i, left) != 0.0, a, b), left)


@kernel
def mask_numbers(f: Any) -> None:
    """mask = x != 0."""
    for i in range(f.rows * f.size):
        store_byte(f.mask, i, 1 if load_float(f.x, i) != 0.0 else 0)


@kernel
def unmask(f: Any) -> None:
    """y = 1 where the mask is set, else 0."""
    for i in range(f.rows * f.size):
        store_float(f.y, i, 1.0 if load_byte(f.mask, i) != 0 else 0.0)


@kernel
def float_ids(f: Any) -> None:
    """y = ids, as floats."""
    for i in range(f.rows * f.size):
        store_float(f.y, i, load_int32(f.ids, i))
