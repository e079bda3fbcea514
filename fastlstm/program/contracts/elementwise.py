"""Contracts of elementwise.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import FLAG, ID, Room, Span, declared, flat, strided

#: The operations of the kernel ``merge``, by the numbers in its field ``op``.
MERGE_OPS = {"add": 0, "subtract": 1, "multiply": 2, "maximum": 3, "minimum": 4}
#: ... and those of the kernel ``mask_combine``.
MASK_OPS = {"and": 0, "or": 1}


@declared("rows", "steps", "features", "ids", "ids_row", "vocabulary", "table", "y", "y_row", reads=("ids", "table"), writes=("y",))
def embedding(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = table[ids]."""
    return {
        "ids": Span(f.ids_row, 0, f.steps, ID),
        "table": Span(0, 0, f.vocabulary * f.features),
        "y": Span(f.y_row, 0, f.steps * f.features),
    }


@declared("rows", "steps", "ids", "ids_row", "mask", reads=("ids",), writes=("mask",))
def mask_ids(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """mask = ids != 0."""
    return {"ids": Span(f.ids_row, 0, f.steps, ID), "mask": Span(f.steps, 0, f.steps, FLAG)}


@declared("rows", "steps", "features", "x", "y", "mask", "value", reads=("x",), writes=("y", "mask"), floats=("value",))
def masking(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """mask = any(x != value) of each step; y = x, with zeros at masked steps."""
    whole = flat(f.steps * f.features)
    return {"x": whole, "y": whole, "mask": Span(f.steps, 0, f.steps, FLAG)}


@declared("rows", "size", "a", "b", "y", "op", reads=("a", "b"), writes=("y",))
def mask_combine(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a op b, of masks; op: one of ``MASK_OPS``."""
    return {name: Span(f.size, 0, f.size, FLAG) for name in ("a", "b", "y")}


@declared("rows", "size", "x", "y", "activation", "alpha", reads=("x",), writes=("y",), floats=("alpha",))
def activate(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = activation(x), element by element; ``alpha``: the slope of leaky_relu, the factor of elu."""
    return {"x": flat(f.size), "y": flat(f.size)}


@declared("rows", "steps", "features", "x", "mean", "factor", "offset", "y", reads=("x", "mean", "factor", "offset"), writes=("y",))
def normalise(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = (x - mean) * factor + offset, by feature."""
    whole, each = flat(f.steps * f.features), Span(0, 0, f.features)
    return {"x": whole, "mean": each, "factor": each, "offset": each, "y": whole}


@declared("rows", "size", "a", "b", "y", "op", "scale", reads=("a", "b"), writes=("y",), floats=("scale",))
def merge(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = (a op b) * scale, element by element; op: one of ``MERGE_OPS``."""
    return {name: flat(f.size) for name in ("a", "b", "y")}


@declared("rows", "steps", "features", "x", "y", reads=("x",), writes=("y",))
def softmax(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = exp(x - max) / sum, over the features of each step."""
    return {"x": flat(f.steps * f.features), "y": flat(f.steps * f.features)}


@declared("rows", "times", "size", "x", "y", reads=("x",), writes=("y",))
def repeat(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x, ``times`` times in each row."""
    return {"x": flat(f.size), "y": flat(f.times * f.size)}


@declared("rows", "steps", "width", "x", "x_row", "x_step", "y", "y_row", "y_step", reads=("x",), writes=("y",))
def place(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x: ``steps`` pieces of ``width`` floats in each row, each side with its own strides."""
    return {"x": strided(f.x_row, f.steps, f.x_step, f.width), "y": strided(f.y_row, f.steps, f.y_step, f.width)}


@declared("rows", "steps", "width", "x", "mask", "y", reads=("x", "mask"), writes=("y",))
def carry(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x, at masked steps y of the step before; zeros where there is none."""
    return {"x": flat(f.steps * f.width), "mask": Span(f.steps, 0, f.steps, FLAG), "y": flat(f.steps * f.width)}
