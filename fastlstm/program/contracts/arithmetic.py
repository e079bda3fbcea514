"""Contracts of arithmetic.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..contract import AXES, FLAG, ID, Room, Span, declared, flat, spread, steps_along

#: The operations of the kernel ``binary``, by the numbers in its field ``op``: the first four are the usual ones. Comparisons and what
#: is logical give 0 or 1.
BINARY_OPS = {
    name: number
    for number, name in enumerate((
        "add", "subtract", "multiply", "divide", "floor_divide", "maximum", "minimum", "squared_difference",
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor",
    ))
}  # fmt: skip
#: ... and of ``unary``. ``clip`` and ``affine`` have two parameters.
UNARY_OPS = {
    name: number
    for number, name in enumerate((
        "negative", "absolute", "square", "sqrt", "rsqrt", "reciprocal", "exp", "log", "log1p", "expm1", "sign", "floor", "ceil", "round",
        "logical_not", "isnan", "isinf", "isfinite", "clip", "affine",
    ))
}  # fmt: skip


@declared(
    "rows", *AXES, "a", "a_row", *steps_along("a"), "b", "b_row", *steps_along("b"), "y", "op", "value",
    reads=("a", "b"), writes=("y",), optional=("a", "b"), floats=("value",),
)  # fmt: skip
def binary(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a op b; op: one of ``BINARY_OPS``. Where a or b is missing, it is the number. The steps along the last axis are 0 or 1."""
    return {"a": spread(f, "a", f.a_row), "b": spread(f, "b", f.b_row), "y": flat(math.prod(getattr(f, count) for count in AXES))}


@declared("rows", "size", "x", "y", "op", "alpha", "beta", reads=("x",), writes=("y",), floats=("alpha", "beta"))
def unary(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = op(x), element by element; op: one of ``UNARY_OPS``."""
    return {"x": flat(f.size), "y": flat(f.size)}


@declared(
    "rows", "size", "condition", "a", "b", "y", "a_value", "b_value",
    reads=("condition", "a", "b"), writes=("y",), optional=("a", "b"), floats=("a_value", "b_value"),
)  # fmt: skip
def choose(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a where the condition is not 0, else b, element by element; a number where one is missing."""
    return {name: flat(f.size) for name in ("condition", "a", "b", "y")}


@declared("rows", "size", "x", "mask", reads=("x",), writes=("mask",))
def mask_numbers(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """mask = x != 0."""
    return {"x": flat(f.size), "mask": Span(f.size, 0, f.size, FLAG)}


@declared("rows", "size", "mask", "y", reads=("mask",), writes=("y",))
def unmask(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = 1 where the mask is set, else 0."""
    return {"mask": Span(f.size, 0, f.size, FLAG), "y": flat(f.size)}


@declared("rows", "size", "ids", "y", reads=("ids",), writes=("y",))
def float_ids(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = ids, as floats."""
    return {"ids": Span(f.size, 0, f.size, ID), "y": flat(f.size)}
