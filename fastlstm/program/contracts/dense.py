"""Contracts of dense.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import layout
from ..contract import WATCH, Room, Span, declared, strided, weights


@declared(
    "rows", "steps", "features", "units", "x", "x_row", "x_step", "kernel", "bias", "activation", "y", "y_row", "y_step",
    "form",  # of the kernel: layout.FULL and so on
    "scratch",  # where that is not FULL
    *WATCH,
    reads=("x", "kernel", "bias"), writes=("y", "scratch"), optional=("bias",),
)  # fmt: skip
def dense(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """activation(x @ kernel + bias) for ``steps`` rows of each row."""
    columns = layout.columns_in(f.form, f.units, 1, lanes)
    touched: dict[str, Span | Room] = {
        "x": strided(f.x_row, f.steps, f.x_step, f.features),
        "kernel": weights(f.form, f.features, columns) if f.units > layout.DOT_UNITS else by_unit(f, lanes),
        "bias": Span(0, 0, columns),
        "y": strided(f.y_row, f.steps, f.y_step, f.units),
    }
    if f.form != layout.FULL:
        touched["scratch"] = Room(0, layout.dense_scratch(f.features, lanes, f.form))
    return touched


def by_unit(f: Any, lanes: int) -> Span:
    """Weights that lie by unit."""
    return Span(0, 0, f.units * layout.padded_units(f.features, lanes))
