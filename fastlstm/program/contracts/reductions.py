"""Contracts of reductions.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import Room, Span, declared, flat

#: The operations of the kernel ``reduce``, by the numbers in its field ``op``.
REDUCE_OPS = {name: number for number, name in enumerate(("sum", "mean", "sumsq", "prod", "max", "min", "any", "all"))}


@declared("rows", "outer", "n", "inner", "x", "y", "op", reads=("x",), writes=("y",))
def reduce(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y (outer, inner) = x (outer, n, inner) reduced along n; op: one of ``REDUCE_OPS``."""
    return {"x": flat(f.outer * f.n * f.inner), "y": flat(f.outer * f.inner)}


@declared("rows", "outer", "n", "inner", "x", "y", reads=("x",), writes=("y",))
def cumulate(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = the sum of x (outer, n, inner) along n so far."""
    return {"x": flat(f.outer * f.n * f.inner), "y": flat(f.outer * f.n * f.inner)}


@declared("rows", "outer", "n", "inner", "x", "y", reads=("x",), writes=("y",))
def softmax_across(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = exp(x - max) / sum, along n of x (outer, n, inner)."""
    return {"x": flat(f.outer * f.n * f.inner), "y": flat(f.outer * f.n * f.inner)}
