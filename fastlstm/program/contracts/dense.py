"""Contracts of dense.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import layout
from ..contract import WATCH, Room, Span, declared, strided


@declared(
    "rows", "steps", "features", "units", "x", "x_row", "x_step", "kernel", "bias", "activation", "y", "y_row", "y_step", *WATCH,
    reads=("x", "kernel", "bias"), writes=("y",), optional=("bias",),
)  # fmt: skip
def dense(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """activation(x @ kernel + bias) for ``steps`` rows of each row."""
    return {
        "x": strided(f.x_row, f.steps, f.x_step, f.features),
        "kernel": Span(0, 0, layout.dense_size(f.features, f.units, lanes)),
        "bias": Span(0, 0, layout.columns(f.units, 1, lanes)),
        "y": strided(f.y_row, f.steps, f.y_step, f.units),
    }
