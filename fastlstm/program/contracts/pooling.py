"""Contracts of pooling.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import FLAG, WATCH, Room, Span, declared, flat


@declared(
    "rows", "steps", "features", "x", "mask", "window", "stride", "before", "y", "y_steps", "mean", *WATCH,
    reads=("x", "mask"), writes=("y",), optional=("mask",),
)  # fmt: skip
def pool(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """The maximum (``mean`` 0) or mean of each window of steps, of which the first begins ``before`` steps early."""
    return {"x": flat(f.steps * f.features), "mask": Span(f.steps, 0, f.steps, FLAG), "y": flat(f.y_steps * f.features)}
