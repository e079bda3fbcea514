"""Contracts of normalising.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import Room, Span, declared, flat
from ..layout import FLOAT

#: By what numbers are divided, by the numbers in the field ``op``: the root of their variance, about a mean that is taken off, or of the
#: mean of their squares, each plus epsilon; or their length, epsilon being the least square of it.
NORMS = {"variance": 0, "mean_square": 1, "length": 2}


@declared(
    "rows", "steps", "features", "x", "factor", "offset", "y", "op", "epsilon",
    reads=("x", "factor", "offset"), writes=("y",), optional=("factor", "offset"), floats=("epsilon",),
)  # fmt: skip
def layer_norm(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = the features of each step, normalised, * factor + offset; op: one of ``NORMS``."""
    whole, each = flat(f.steps * f.features), Span(0, 0, f.features)
    return {"x": whole, "factor": each, "offset": each, "y": whole}


@declared(
    "rows", "outer", "n", "groups", "width", "x", "factor", "offset", "y", "op", "epsilon", "scratch",
    reads=("x", "factor", "offset"), writes=("y", "scratch"), optional=("factor", "offset"), floats=("epsilon",), counts=("groups",),
)  # fmt: skip
def norm_across(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x (outer, n, groups, width), each group normalised along n and width, * factor + offset, which are by groups and width."""
    inner = f.groups * f.width
    whole, each = flat(f.outer * f.n * inner), Span(0, 0, inner)
    return {"x": whole, "factor": each, "offset": each, "y": whole, "scratch": Room(0, across_scratch(inner))}


def across_scratch(inner: int) -> int:
    """Bytes of scratch in which ``norm_across`` keeps the statistics."""
    return 2 * FLOAT * inner


@declared("rows", "outer", "n", "inner", "x", "mean", "factor", "offset", "y", reads=("x", "mean", "factor", "offset"), writes=("y",))
def normalise_across(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = (x - mean) * factor + offset of x (outer, n, inner), by n."""
    whole, each = flat(f.outer * f.n * f.inner), Span(0, 0, f.n)
    return {"x": whole, "mean": each, "factor": each, "offset": each, "y": whole}
