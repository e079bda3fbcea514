"""Contracts of pooling.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import FLAG, WATCH, Room, Span, declared, flat


@declared("rows", "steps", "features", "x", "mask", "y", *WATCH, reads=("x", "mask"), writes=("y",))
def masked_mean(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """The mean of the valid steps."""
    return {"x": flat(f.steps * f.features), "mask": Span(f.steps, 0, f.steps, FLAG), "y": flat(f.features)}
