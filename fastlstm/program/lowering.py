"""Kernel calls that several families write."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import activations, lazy
from . import layout
from .contracts.elementwise import MASK_OPS, MERGE_OPS
from .ir import At, Buffer, Builder, Mask, Value
from .layout import FULL

if TYPE_CHECKING:
    from . import bfloat16
else:
    bfloat16 = lazy.module("fastlstm.program.bfloat16")

#: Activations with one parameter that the kernels take: the parameter's name and what it is when not given.
PARAMETER = {name: next(iter(activations.DEFAULTS[name].items())) for name in ("leaky_relu", "elu", "celu", "thresholded_relu")}
#: Those that are no function of each number by itself.
ALONG_FEATURES = ("softmax", "log_softmax", "sparsemax", "glu")


def activation_call(activation: Any) -> tuple[int, float] | None:
    """Code and parameter with which the kernels compute an activation; None where only NumPy has it."""
    name = activations.name_of(activation)
    if name not in activations.NATIVE:
        return None
    parameter, default = PARAMETER.get(name, ("", 0.0))
    given = {} if isinstance(activation, str) else {key: value for key, value in activation.items() if key != "name"}
    if set(given) - {parameter}:
        return None
    return activations.NATIVE[name], float(given.get(parameter, default))


def default_code(activation: Any) -> int | None:
    """Code of an activation for kernels that take no parameter besides."""
    call = activation_call(activation)
    return call[0] if call and call == activation_call(activations.name_of(activation)) else None


def packed(matrix: np.ndarray, gates: int, lanes: int, form: int) -> np.ndarray:
    """Weights (K, gates * units) in panels, in a form."""
    return layout.pack_panels(matrix, gates, lanes) if form == FULL else bfloat16.pack(matrix, gates, lanes, form)


def packed_row(vector: np.ndarray, gates: int, units: int, lanes: int, form: int) -> np.ndarray:
    """A bias (gates * units,) as the panel-ordered row, float32, that goes with weights of a form."""
    return layout.pack_bias(vector, gates, units, lanes) if form == FULL else bfloat16.pack_row(vector, gates, units, lanes, form)


def packed_dense(matrix: np.ndarray, lanes: int, form: int) -> np.ndarray:
    """The kernel (features, units) of the ``dense`` kernel."""
    return layout.pack_dense(matrix, lanes) if form == FULL else packed(matrix, 1, lanes, form)


def dense(
    b: Builder, layer: Any, what: str, x: Buffer | At, shape: tuple[int, int, int], matrix: Callable[[], np.ndarray],
    bias: Callable[[], np.ndarray] | None = None, activation: int = 0, *, exact: bool = False,
) -> Buffer:  # fmt: skip
    """activation(x @ matrix + bias), x a row of ``shape``: (steps, features), units; ``activation``: by its code.

    ``matrix`` (features, units) and ``bias`` (units,) are called when they are packed; ``exact``: in float32, whatever was asked for.
    """
    steps, features, units = shape
    out = b.buffer(steps * units)
    form = FULL if exact or units <= layout.DOT_UNITS else b.form(layer, what, lambda: [matrix()])
    kernel = b.constant(layer, what, lambda: packed_dense(matrix(), b.lanes, form))
    offset = None if bias is None else b.constant(layer, f"bias of {what}", lambda: packed_row(bias(), 1, units, b.lanes, form))
    scratch: dict[str, Any] = {}
    if form != FULL:
        scratch["scratch"] = b.buffer(0, fixed_bytes=layout.dense_scratch(features, b.lanes, form))
    b.emit(
        "dense", steps=steps, features=features, units=units, x=x, x_row=steps * features, x_step=features, kernel=kernel, bias=offset,
        activation=activation, y=out, y_row=steps * units, y_step=units, form=form, **scratch,
    )  # fmt: skip
    return out


def rectifier(activation: Any) -> Mapping[str, Any] | None:
    """The parameters of a relu with any; None for what is none."""
    if isinstance(activation, str) or activations.name_of(activation) != "relu":
        return None
    given = {key: value for key, value in activation.items() if key != "name"}
    return {**activations.DEFAULTS["relu"], **given} if given.keys() <= activations.DEFAULTS["relu"].keys() else None


def has_kernel(activation: Any) -> bool:
    """Can :func:`activated` write this activation?"""
    return activation in ALONG_FEATURES or activation_call(activation) is not None or rectifier(activation) is not None


def activated(b: Builder, activation: Any, value: Value) -> Value:
    """A value with an activation applied."""
    if activation == "linear":
        return value
    if activation in ALONG_FEATURES:
        return along_features(b, activation, value)
    size = math.prod(value.shape)
    out = b.buffer(size)
    call = activation_call(activation)
    if call is not None:
        b.emit("activate", size=size, x=b.read(value), y=out, activation=call[0], alpha=call[1])
    else:
        given = rectifier(activation)
        assert given is not None  # has_kernel said so
        limit = given["max_value"]
        b.emit(
            "rectify", size=size, x=b.read(value), y=out, slope=float(given["negative_slope"]), threshold=float(given["threshold"]),
            limit=float(limit or 0.0), limited=int(limit is not None),
        )  # fmt: skip
    return Value(out, value.shape, value.mask)


def along_features(b: Builder, activation: str, value: Value) -> Value:
    """One of ``ALONG_FEATURES`` of the last axis."""
    features, size = value.shape[-1], math.prod(value.shape)
    if activation == "glu":
        return gated(b, value)
    out = b.buffer(size)
    scratch: dict[str, Any] = {"scratch": b.buffer(0, fixed_bytes=layout.FLOAT * features)} if activation == "sparsemax" else {}
    b.emit(activation, steps=size // features, features=features, x=b.read(value), y=out, **scratch)
    return Value(out, value.shape, value.mask)


def gated(b: Builder, value: Value) -> Value:
    """The first half of the features times the sigmoid of the second."""
    *outer, features = value.shape
    if features % 2:
        raise ValueError(f"glu halves its features, of which there are {features}")
    steps, width = math.prod(outer), features // 2

    def half(first: int) -> Value:
        out = b.buffer(steps * width)
        b.emit(
            "place", steps=steps, width=width, x=At(b.read(value), first), x_row=steps * features, x_step=features,
            y=out, y_row=steps * width, y_step=width,
        )  # fmt: skip
        return Value(out, (*outer, width), value.mask)

    gates = activated(b, "sigmoid", half(width))
    return merged(b, "multiply", [half(0), gates])._replace(mask=value.mask)


def merged(b: Builder, op: str, values: Sequence[Value], scale: float = 1.0) -> Value:
    """Values of one shape, combined one after the other by an operation; ``scale`` multiplies the result."""
    shape = values[0].shape
    size = math.prod(shape)

    def pair(one: Value, other: Value) -> Value:
        out = b.buffer(size)
        factor = scale if other is values[-1] else 1.0
        b.emit("merge", size=size, a=b.read(one), b=b.read(other), y=out, op=MERGE_OPS[op], scale=factor)
        return Value(out, shape)

    return reduce(pair, values)


def merged_masks(b: Builder, op: str, masks: Sequence[Mask]) -> Mask:
    """Masks of one shape, combined one after the other by "and" or "or"."""

    def pair(one: Mask, other: Mask) -> Mask:
        size = math.prod(one.shape)
        out = b.buffer(size, itemsize=1)
        b.emit("mask_combine", size=size, a=one.buffer, b=other.buffer, y=out, op=MASK_OPS[op])
        return Mask(out, one.shape)

    return reduce(pair, masks)


def mask_of(b: Builder, value: Value) -> Mask:
    """The mask that the numbers of a value are: what is other than 0 is there."""
    size = math.prod(value.shape)
    mask = b.buffer(size, itemsize=1)
    if value.integer:
        b.emit("mask_ids", steps=size, ids=value.buffer, ids_row=size, mask=mask)
    else:
        b.emit("masking", steps=size, features=1, x=b.read(value), y=b.buffer(size), mask=mask, value=0.0)
    return Mask(mask, value.shape)


def copied(b: Builder, size: int, x: Buffer | At, x_row: int, y: Buffer | At, y_row: int) -> None:
    """Write a copy of ``size`` floats of each row."""
    b.emit("place", steps=1, width=size, x=x, x_row=x_row, x_step=0, y=y, y_row=y_row, y_step=0)


def present_only(b: Builder, mask: Mask) -> Mask:
    """A mask that a layer made from its input's values, without the padding of the caller's sequences of different lengths."""
    return mask if b.present is None else merged_masks(b, "and", [mask, b.present])
