"""Contracts of curves.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import layout
from ..contract import Room, Span, declared, flat

#: The curves of the kernel ``place_wise``, by the numbers in its field ``op``, and how many parameters each has.
CURVES = {"prelu": 0, "softplus": 1, "srelu": 2, "srelu_clipped": 3}


@declared(
    "rows", "size", "x", "y", "slope", "threshold", "limit", "limited",
    reads=("x",), writes=("y",), floats=("slope", "threshold", "limit"),
)  # fmt: skip
def rectify(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = relu(x) with a slope below a threshold and, where it is ``limited``, a limit above; element by element."""
    return {"x": flat(f.size), "y": flat(f.size)}


@declared(
    "rows", "steps", "features", "x", "p0", "p1", "p2", "p3", "y", "op",
    reads=("x", "p0", "p1", "p2", "p3"), writes=("y",), optional=("p1", "p2", "p3"),
)  # fmt: skip
def place_wise(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a curve of x with parameters by feature; op: one of ``CURVES``. A parameter that is missing is 0."""
    whole, each = flat(f.steps * f.features), Span(0, 0, f.features)
    return {"x": whole, "y": whole, "p0": each, "p1": each, "p2": each, "p3": each}


@declared("rows", "steps", "features", "x", "y", reads=("x",), writes=("y",))
def log_softmax(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = (x - max) - log(sum(exp(x - max))), over the features of each step."""
    return {"x": flat(f.steps * f.features), "y": flat(f.steps * f.features)}


@declared("rows", "steps", "features", "x", "y", "scratch", reads=("x",), writes=("y", "scratch"))
def sparsemax(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = sparsemax(x) as Keras has it, over the features of each step."""
    whole = flat(f.steps * f.features)
    return {"x": whole, "y": whole, "scratch": Room(0, layout.FLOAT * f.features)}
