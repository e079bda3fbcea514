"""Contracts of rearranging.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import AXES, Room, Span, declared, spread, steps_along


@declared(
    "rows", *AXES, "x", "x_row", *steps_along("x"), "y", "y_row", *steps_along("y"), "value",
    reads=("x",), writes=("y",), optional=("x",), floats=("value",),
)  # fmt: skip
def rearrange(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x, or a number where there is no x: each side with its own steps along the axes."""
    return {"x": spread(f, "x", f.x_row), "y": spread(f, "y", f.y_row)}
