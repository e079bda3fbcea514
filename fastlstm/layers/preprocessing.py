"""Numeric preprocessing inside models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..spec import LayerSpec, Shape
from .base import Context, Layer, States, Tensor, floating


def numbers(value: Any) -> np.ndarray:
    """A number or nested lists of them; Keras 3 wraps NumPy arrays in a dict."""
    while isinstance(value, Mapping):
        value = value.get("config", value.get("value", value))
    return np.asarray(value, np.float64)


def passed(layer: Layer, given: Tensor) -> np.ndarray | None:
    """The mask that a layer of this file hands on."""
    return given.mask if layer.rules.preprocessing_masks else None


class Rescaling(Layer):
    """x * scale + offset."""

    CLASSES = ("Rescaling",)
    HONOURED = frozenset({"scale", "offset", "data_format"})
    STEPWISE = True

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        # Keras makes the two float32 numbers before it computes.
        scale, offset = (numbers(self.config.get(key, default)).astype(np.float32) for key, default in (("scale", 1.0), ("offset", 0.0)))
        return (Tensor(x * scale.astype(x.dtype) + offset.astype(x.dtype), passed(self, inputs[0])),)


class Normalization(Layer):
    """(x - mean) / sqrt(variance) along ``axis``, of given or learned moments."""

    CLASSES = ("Normalization",)
    HONOURED = frozenset({"axis", "mean", "variance", "invert"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        axis = self.config.get("axis", -1)
        self.axis = () if axis is None else axis

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        sizes = tuple(inputs[0][axis] for axis in self.row_axes(self.axis, len(inputs[0])))
        if None in sizes:
            raise self.error(f"the size of its axes is not known (shape {inputs[0]})")
        if self.spec.weights:
            known = tuple(size for size in sizes if size is not None)
            self.arrays(known, known, ())
        elif self.config.get("mean") is None:
            raise self.error("it has neither given nor adapted moments")
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        axes = self.row_axes(self.axis, x.ndim)
        shape = [n if axis in axes else 1 for axis, n in enumerate(x.shape)]
        if self.spec.weights:
            mean, variance = self.cast(x.dtype)[:2]
        else:
            mean, variance = (numbers(self.config[key]).astype(np.float32).astype(x.dtype) for key in ("mean", "variance"))
        mean, variance = (array.reshape(shape) if array.size > 1 else array.reshape(()) for array in (mean, variance))
        deviation = np.maximum(np.sqrt(variance), x.dtype.type(1e-7))
        value = mean + x * deviation if self.config.get("invert", False) else (x - mean) / deviation
        return (Tensor(value, passed(self, inputs[0])),)
