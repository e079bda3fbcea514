"""Layers that pad, crop and repeat along time or over images. None passes a mask on, in any Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..spec import LayerSpec, Shape
from .base import Context, Layer, States, Tensor
from .convolution import per_axis


def pairs(value: Any, axes: int) -> tuple[tuple[int, int], ...]:
    """The amounts before and after each spatial axis: one number for all, (before, after) in 1D, or one or two for each axis."""
    if isinstance(value, int):
        return ((value, value),) * axes
    if axes == 1:
        before, after = value if len(value) == 2 else (value[0], value[0])
        return ((int(before), int(after)),)
    return tuple((int(n), int(n)) if isinstance(n, int) else (int(n[0]), int(n[1])) for n in value)


class Reshaping(Layer):
    """The base of the layers of this file."""

    HONOURED = frozenset({"padding", "cropping", "size", "data_format", "interpolation"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.axes = self.row.axes
        self.first = 2 if self.config.get("data_format") == "channels_first" else 1
        self.only("interpolation", "nearest")

    def length(self, axis: int, n: int) -> int:
        """Size of a spatial axis of the output."""
        raise NotImplementedError

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = list(inputs[0])
        if len(shape) != self.axes + 2:
            raise self.error(f"reads input of {self.axes + 2} axes, found shape {inputs[0]}")
        for axis in range(self.axes):
            n = shape[self.first + axis]
            shape[self.first + axis] = None if n is None else max(self.length(axis, n), 0)
        return (tuple(shape),)


class ZeroPadding(Reshaping):
    CLASSES = ("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.amounts = pairs(self.config.get("padding", 1), self.axes)

    def length(self, axis: int, n: int) -> int:
        return n + sum(self.amounts[axis])

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = inputs[0].value
        amounts = [(0, 0)] * x.ndim
        amounts[self.first : self.first + self.axes] = self.amounts
        return (Tensor(np.pad(x, amounts)),)


class Cropping(Reshaping):
    CLASSES = ("Cropping1D", "Cropping2D", "Cropping3D")

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.amounts = pairs(self.config.get("cropping", 1), self.axes)

    def length(self, axis: int, n: int) -> int:
        return n - sum(self.amounts[axis])

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = inputs[0].value
        kept = [slice(None)] * x.ndim
        for axis, (before, after) in enumerate(self.amounts, start=self.first):
            kept[axis] = slice(before, max(x.shape[axis] - after, before))
        return (Tensor(np.ascontiguousarray(x[tuple(kept)])),)


class UpSampling(Reshaping):
    """Each step repeated."""

    CLASSES = ("UpSampling1D", "UpSampling2D", "UpSampling3D")

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.times = per_axis(self.config.get("size", 2), self.axes)

    def length(self, axis: int, n: int) -> int:
        return n * self.times[axis]

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = inputs[0].value
        for axis, times in enumerate(self.times, start=self.first):
            x = np.repeat(x, times, axis=axis)
        return (Tensor(x),)
