"""Contracts of resampling.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import Room, Span, declared, flat


@declared("rows", "outer", "n", "inner", "x", "y", "y_steps", reads=("x",), writes=("y",))
def adaptive_mean(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y (outer, y_steps, inner) = means of x (outer, n, inner): place i from floor(i n / y_steps) up to ceil((i + 1) n / y_steps)."""
    return {"x": flat(f.outer * f.n * f.inner), "y": flat(f.outer * f.y_steps * f.inner)}


@declared(
    "rows", "outer", "n", "inner", "x", "starts", "weights", "taps", "y", "y_steps",
    reads=("x", "starts", "weights"), writes=("y",), counts=("taps",),
)  # fmt: skip
def blend(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y (outer, y_steps, inner) = weighted sums of x (outer, n, inner): place i of ``taps`` steps from ``starts[i]`` on, by its weights."""
    return {
        "x": Span(f.outer * f.n * f.inner, 0, ((f.outer - 1) * f.n + max(f.n, f.taps)) * f.inner),
        "starts": Span(0, 0, f.y_steps),
        "weights": Span(0, 0, f.y_steps * f.taps),
        "y": flat(f.outer * f.y_steps * f.inner),
    }
