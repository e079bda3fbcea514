"""Layers that pad, crop, repeat and resize along time or over images. None passes a mask on, in any Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..program.arithmetic import floats
from ..program.copying import enlarged, padded, sliced, transposed
from ..program.ir import Builder, Value
from ..program.resampling import blended
from ..spec import LayerSpec, Shape
from . import interpolation
from .base import Context, Layer, States, Tensor, floating, numbers_in
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

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.axes = self.row.axes
        self.first = 2 if self.config.get("data_format") == "channels_first" else 1

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
    HONOURED = frozenset({"padding", "data_format"})

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

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        if 0 in x.shape or min(map(min, self.amounts)) < 0:
            return None
        around = [(0, 0)] * len(x.shape)
        around[self.first - 1 : self.first - 1 + self.axes] = self.amounts
        value = padded(b, x, around)
        return value and (value,)


class Cropping(Reshaping):
    CLASSES = ("Cropping1D", "Cropping2D", "Cropping3D")
    HONOURED = frozenset({"cropping", "data_format"})

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

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        parts = [(0, size, 1) for size in x.shape]
        for axis, (before, after) in enumerate(self.amounts, start=self.first - 1):
            parts[axis] = (before, x.shape[axis] - before - after, 1)
        if min(map(min, self.amounts)) < 0 or any(count < 1 for _, count, _ in parts):
            return None
        value = sliced(b, x, parts)
        return value and (value,)


class UpSampling(Reshaping):
    """Each step repeated; or, over images, blended with its neighbours."""

    CLASSES = ("UpSampling1D", "UpSampling2D", "UpSampling3D")
    HONOURED = frozenset({"size", "data_format", "interpolation"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.times = per_axis(self.config.get("size", 2), self.axes)
        self.method = str(self.config.get("interpolation", "nearest"))
        if self.axes != 2:
            self.only("interpolation", "nearest")
        else:
            self.only("interpolation", "nearest", "bilinear", "bicubic", "area", *interpolation.FILTERS)
        if self.method == "bilinear":
            if self.rules.bilinear_places == "unknown":
                self.refuse("argument interpolation='bilinear' is not computed for the backend that this file was made with")
            self.method = "corners" if self.rules.bilinear_places == "corners" else "bilinear"

    def length(self, axis: int, n: int) -> int:
        return n * self.times[axis]

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = inputs[0].value
        if self.method != "nearest":
            x = floating(x)
        for axis, times in enumerate(self.times, start=self.first):
            if self.method == "nearest":
                x = np.repeat(x, times, axis=axis)
            else:
                x = interpolation.resized(x, axis, interpolation.taps(self.method, x.shape[axis], x.shape[axis] * times))
        return (Tensor(x),)

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        # The weights of both axes are no more than those of a few numbers each.
        return super().row_numbers(inputs, keywords, outputs) * (1 if self.method == "nearest" else MOST_TAPS)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        if 0 in x.shape or min(self.times) < 1:
            return None
        if self.method == "nearest":
            value = enlarged(b, x, self.times, self.first - 1)
        else:
            sizes = [self.length(axis, n) for axis, n in enumerate(x.shape[self.first - 1 :][: self.axes])]
            value = resized(b, self, x, self.first == 2, self.method, sizes)
        return value and (value,)


#: Neighbours that a place of a larger image is made of, at the most: those of the widest filter.
MOST_TAPS = 11


def resized(b: Builder, layer: Layer, x: Value, channels_first: bool, method: str, sizes: Sequence[int]) -> Value | None:
    """Images (height, width, channels), or with their channels first, in another size."""
    image = transposed(b, x, (1, 2, 0)) if channels_first else x
    for axis, size in enumerate(sizes):
        image = image and blended(b, layer, image, axis, interpolation.taps(method, image.shape[axis], size))
    return transposed(b, image, (2, 0, 1)) if channels_first and image else image


class ToSize(Layer):
    """The base of layers that make images of one size."""

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.first = 2 if self.config.get("data_format") == "channels_first" else 1
        self.size = int(self.config["height"]), int(self.config["width"])
        if min(self.size) < 1:
            raise self.error(f"makes images of {self.size[0]} x {self.size[1]}")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        if len(shape) != 4:
            raise self.error(f"reads a batch of images, found shape {shape}")
        return ((*shape[: self.first], *self.size, *shape[self.first + 2 :]),)


class Resizing(ToSize):
    """Images in another size, larger or smaller, without regard to their proportions."""

    CLASSES = ("Resizing",)
    HONOURED = frozenset({"height", "width", "interpolation", "data_format", "antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio"})
    INERT = frozenset({"fill_mode", "fill_value"})  # of padding

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.method = str(self.config.get("interpolation", "bilinear"))
        self.only("interpolation", "bilinear", "nearest", "bicubic", "area", *interpolation.FILTERS)
        for key in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio"):
            self.only(key, False)

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        # Of "area", the weights of a place are as many as the steps that it covers.
        return MOST_TAPS * super().row_numbers(inputs, keywords, outputs) + 4 * (numbers_in(*inputs) + sum(self.size))

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        for axis, size in enumerate(self.size, start=self.first):
            x = interpolation.resized(x, axis, interpolation.taps(self.method, x.shape[axis], size))
        return (Tensor(x),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        value = None if 0 in x.shape else resized(b, self, x, self.first == 2, self.method, self.size)
        return value and (value,)


class CenterCrop(ToSize):
    """The middle of images that are as large at least."""

    CLASSES = ("CenterCrop",)
    HONOURED = frozenset({"height", "width", "data_format"})

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        made = super().shapes(inputs, keywords)
        there = inputs[0][self.first : self.first + 2]
        if any(n is not None and n < size for n, size in zip(there, self.size, strict=True)):
            raise self.unsupported(f"it is given images of {there[0]} x {there[1]}, which Keras would enlarge first")
        return made

    def parts(self, row: Sequence[int]) -> list[tuple[int, int, int]]:
        """What is kept of each axis, as ``program.copying.sliced`` takes it, of images of a shape less the batch."""
        parts = [(0, n, 1) for n in row]
        for axis, size in enumerate(self.size, start=self.first - 1):
            parts[axis] = ((row[axis] - size) // 2, size, 1)
        return parts

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        kept = [slice(None), *(slice(start, start + count) for start, count, _ in self.parts(x.shape[1:]))]
        return (Tensor(np.ascontiguousarray(x[tuple(kept)])),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        value = sliced(b, x, self.parts(x.shape))
        return value and (value,)
