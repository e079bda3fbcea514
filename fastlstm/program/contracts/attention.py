"""Contracts of attention.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import layout
from ..contract import FLAG, WATCH, Room, Span, declared, flat, strided

#: Where the matrices of an array are: its rows, and within one the numbers from outer one to outer one, head to head, step to step.
PLACES = ("{}", "{}_row", "{}_outer", "{}_head", "{}_step")
ARRAYS = tuple(place.format(name) for name in "qkvy" for place in PLACES)
COUNTS = ("outer", "heads", "group", "steps", "others", "features", "size")
#: What hides steps: bytes for those of the query, for those of the value, and for pairs of them; later steps; those not within a band.
MASKS = (
    "step_mask", "other_mask", "pairs", "pairs_row", "pairs_outer", "pairs_head", "pairs_step", "pairs_other", "causal", "band", "zeros",
)  # fmt: skip
READS, OPTIONAL = ("q", "k", "v", "step_mask", "other_mask", "pairs", "past"), ("step_mask", "other_mask", "pairs", "past", "scores")
WRITES = ("y", "scores", "scratch")


def matrices(f: Any, name: str, heads: int, steps: int, width: int, size: int = layout.FLOAT) -> Span:
    """What is touched of an array."""
    apart = [getattr(f, f"{name}_{along}") for along in ("outer", "head", "step")]
    reaches = [(count - 1) * step for count, step in zip((f.outer, heads, steps), apart, strict=True)]
    return Span(getattr(f, f"{name}_row"), sum(min(reach, 0) for reach in reaches), sum(max(reach, 0) for reach in reaches) + width, size)


def touched(f: Any, lanes: int) -> dict[str, Span | Room]:
    """What both kernels touch."""
    heads = f.heads * f.group
    return {
        "q": matrices(f, "q", heads, f.steps, f.features),
        "k": matrices(f, "k", f.heads, f.others, f.features),
        "v": matrices(f, "v", f.heads, f.others, f.size),
        "y": matrices(f, "y", heads, f.steps, f.size),
        "step_mask": Span(f.steps, 0, f.steps, FLAG),
        "other_mask": Span(f.others, 0, f.others, FLAG),
        "pairs": matrices(f, "pairs", heads, f.steps, (f.others - 1) * f.pairs_other + 1, FLAG),
        "past": Span(1, 0 if f.steps <= f.others else -1, 1),  # without room for the query's own steps it would not be understood
        "scores": flat(f.outer * heads * f.steps * f.others),
        "scratch": Room(0, layout.attention_scratch(f.others, f.features, f.size, lanes)),
    }


@declared("rows", "steps", "others", "size", "x", "x_row", "x_step", "past", "y", reads=("x", "past"), writes=("y",), counts=("others",))
def remember(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y (others, size) = x (steps, size) after ``past`` steps of each row, a float as in ``attention``."""
    return {
        "x": strided(f.x_row, f.steps, f.x_step, f.size),
        "past": Span(1, 0 if f.steps <= f.others else -1, 1),
        "y": flat(f.others * f.size),
    }


@declared(
    "rows", *COUNTS, *ARRAYS, "scale", *MASKS, "past", "scores", "scratch", *WATCH,
    reads=READS, writes=WRITES, optional=OPTIONAL, floats=("scale",), counts=("others", "heads", "group"),
)  # fmt: skip
def attention(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = softmax(q @ k transposed * scale) @ v, for outer x heads x group matrices of each row; a group of q's share k and v.

    What is hidden has a score of -1e9; with ``zeros`` a weight of 0. ``pairs_other``: 1, or 0 where the bytes of ``pairs`` are the same
    for all steps of the value. ``past``: a float for each row, how many of the value's steps come before the query's first one; later ones
    than the query's last are not there then.
    """
    return touched(f, lanes)


@declared(
    "rows", *COUNTS, *ARRAYS, "within", "factors", "scale", *MASKS, "past", "scores", "scratch", *WATCH,
    reads=(*READS, "factors"), writes=WRITES, optional=(*OPTIONAL, "factors"), floats=("within", "scale"),
    counts=("others", "heads", "group"),
)  # fmt: skip
def additive_attention(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """The same, where a score is scale * sum(factors * tanh(within * (q + k))); without ``factors`` they are 1."""
    return {**touched(f, lanes), "factors": Span(0, 0, f.features)}
