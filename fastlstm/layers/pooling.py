"""Pooling along time and over images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..program.arithmetic import binary, floats, of_mask, reduced
from ..program.convolving import pooled_windows
from ..program.copying import reshaped, transposed
from ..program.ir import Builder, Value
from ..program.resampling import adaptive_mean
from ..spec import LayerSpec, Shape
from . import given_masks
from .base import Context, Layer, States, Tensor, floating, numbers_in
from .convolution import output_length, padded_numbers, per_axis, window_axis, windows


class Pooling(Layer):
    """The base of pooling with windows."""

    HONOURED = frozenset({"pool_size", "strides", "padding", "data_format"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.axes = self.row.axes
        self.size = per_axis(self.config.get("pool_size", 2), self.axes)
        strides = self.config.get("strides")
        self.strides = self.size if strides is None else per_axis(strides, self.axes)
        self.padding = str(self.config.get("padding", "valid"))
        self.channels_first = self.config.get("data_format") == "channels_first"
        if self.padding not in ("valid", "same"):
            self.refuse(f"argument padding={self.padding!r} is not known")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        if len(shape) != self.axes + 2:
            raise self.error(f"reads input of {self.axes + 2} axes, found shape {shape}")
        spatial = shape[2:] if self.channels_first else shape[1:-1]
        lengths = tuple(output_length(n, k, s, 1, self.padding) for n, k, s in zip(spatial, self.size, self.strides, strict=True))
        return ((shape[0], shape[1], *lengths) if self.channels_first else (shape[0], *lengths, shape[-1]),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        out = self.pool(np.moveaxis(x, 1, -1) if self.channels_first else x)
        return (Tensor(np.moveaxis(out, -1, 1) if self.channels_first else out),)

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        shape = inputs[0]
        spatial, channels = (shape[2:], shape[1]) if self.channels_first else (shape[1:-1], shape[-1])
        padded = padded_numbers(spatial, channels or 1, self.size, self.strides, (1,) * self.axes, self.padding)
        return (2 if self.mean else 1 + math.prod(self.size)) * numbers_in(*outputs) + 2 * padded

    mean = False  # else the maximum

    def pool(self, x: np.ndarray) -> np.ndarray:
        """The pooling itself, channels last."""
        raise NotImplementedError

    def seen(self, x: np.ndarray, fill: float = 0.0) -> list[np.ndarray]:
        """x as each place of the window sees it."""
        return [view for _, view in windows(x, self.size, self.strides, (1,) * self.axes, self.padding, fill)]

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x: Value | None = floats(b, inputs[0])
        if x is not None and self.channels_first:
            x = transposed(b, x, [*range(1, self.axes + 1), 0])
        if x is None or 0 in x.shape:
            return None
        geometry = zip(x.shape[:-1], self.size, self.strides, strict=True)
        axes = [window_axis(n, size, stride, 1, self.padding) for n, size, stride in geometry]
        if any(axis.positions < 1 for axis in axes):
            return None
        out: Value | None = pooled_windows(b, x, axes, mean=self.mean)
        if out is not None and self.channels_first:
            out = transposed(b, out, [self.axes, *range(self.axes)])
        return None if out is None else (out,)


class MaxPooling(Pooling):
    CLASSES = ("MaxPooling1D", "MaxPooling2D", "MaxPooling3D")

    def pool(self, x: np.ndarray) -> np.ndarray:
        return np.max(np.stack(self.seen(x, -np.inf)), axis=0)


class AveragePooling(Pooling):
    mean = True
    CLASSES = ("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")

    def pool(self, x: np.ndarray) -> np.ndarray:
        # Places that padding added do not count.
        counts = sum(self.seen(np.ones((min(len(x), 1), *x.shape[1:-1], 1), x.dtype)), np.zeros((), x.dtype))
        return sum(self.seen(x), np.zeros((), x.dtype)) / counts


class AdaptiveAveragePooling(Layer):
    """Means over windows that divide each spatial axis into ``output_size`` places: from floor(i n / size) up to ceil((i + 1) n / size)."""

    CLASSES = ("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D")
    HONOURED = frozenset({"output_size", "data_format"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.size = per_axis(self.config["output_size"], self.row.axes)
        self.first = 2 if self.config.get("data_format") == "channels_first" else 1

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape, axes = inputs[0], len(self.size)
        if len(shape) != axes + 2:
            raise self.error(f"reads input of {axes + 2} axes, found shape {shape}")
        return ((*shape[: self.first], *self.size, *shape[self.first + axes :]),)

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        shape, total = inputs[0], numbers_in(*outputs)
        for axis, size in enumerate(self.size, start=self.first):
            n, others = shape[axis] or 1, numbers_in((*shape[:axis], *shape[axis + 1 :]))
            total += (n + 3 * size) * others  # the windows, which share two numbers with each other at most, and their means
            shape = (*shape[:axis], size, *shape[axis + 1 :])
        return total

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        for axis, size in enumerate(self.size, start=self.first):
            n, places = x.shape[axis], np.arange(size)
            starts, ends = places * n // size, -((places + 1) * -n // size)
            out = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
            for length in np.unique(ends - starts):  # there are two or three, however many places
                alike = np.flatnonzero(ends - starts == length)
                windows = x.take(starts[alike, None] + np.arange(length), axis)
                np.moveaxis(out, axis, 0)[alike] = np.moveaxis(np.mean(windows, axis + 1), axis, 0)
            x = out
        return (Tensor(x),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x: Value | None = floats(b, inputs[0])
        for axis, size in enumerate(self.size, start=self.first - 1):
            x = x and adaptive_mean(b, x, axis, size)
        return x and (x,)


class GlobalPooling(Layer):
    """The base of pooling over all places."""

    HONOURED = frozenset({"data_format", "keepdims"})
    mean = False  # else the maximum

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        axes = self.row.axes
        self.channels_first = self.config.get("data_format") == "channels_first"
        self.keepdims = bool(self.config.get("keepdims", False))
        self.places = tuple(range(2, axes + 2)) if self.channels_first else tuple(range(1, axes + 1))

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        if len(shape) != len(self.places) + 2:
            raise self.error(f"reads input of {len(self.places) + 2} axes, found shape {shape}")
        if self.keepdims:
            return (tuple(1 if axis in self.places else n for axis, n in enumerate(shape)),)
        return (tuple(n for axis, n in enumerate(shape) if axis not in self.places),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x, mask = floats(b, inputs[0]), inputs[0].mask if self.mean and len(self.places) == 1 else None
        places = [axis - 1 for axis in self.places]
        if mask is None:
            value = reduced(b, "mean" if self.mean else "max", x, places, self.keepdims)
            return value and (value,)
        (axis,), numbers = places, given_masks.value_of_numbers(keywords) if self.rules.masks_weigh else None
        if mask.shape != (x.shape[axis],):
            return None
        if numbers is None and not self.channels_first:
            steps, features = x.shape
            out = b.buffer(features)
            b.emit("masked_mean", steps=steps, features=features, x=b.read(x), mask=mask.buffer, y=out)
            return (Value(out, (1, features) if self.keepdims else (features,)),)
        return weighed(b, x, axis, of_mask(b, mask) if numbers is None else numbers, self.keepdims)


def weighed(b: Builder, x: Value, axis: int, weights: Value, keepdims: bool) -> tuple[Value, ...] | None:
    """The mean along an axis, weighed."""
    along = reshaped(b, weights, [size if n == axis else 1 for n, size in enumerate(x.shape)])
    each = binary(b, "multiply", x, along)
    sums, count = each and reduced(b, "sum", each, [axis], keepdims), reduced(b, "sum", along, [axis], keepdims)
    value = sums and count and binary(b, "divide", sums, count)
    return value and (value,)


class GlobalMaxPooling(GlobalPooling):
    """The mask does not matter to it, in any Keras."""

    CLASSES = ("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D")

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        return (Tensor(np.max(floating(inputs[0].value), axis=self.places, keepdims=self.keepdims)),)


class GlobalAveragePooling(GlobalPooling):
    """Over the valid steps where there is a mask: NaN for a row without any, as Keras gives it."""

    mean = True
    CLASSES = ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        mask = self.step_mask(inputs[0]) if len(self.places) == 1 else None
        if mask is None:
            return (Tensor(np.mean(x, axis=self.places, keepdims=self.keepdims)),)
        numbers = given_masks.numbers(keywords)
        mask = mask if numbers is None or not self.rules.masks_weigh else numbers
        weights = (mask[:, None, :] if self.channels_first else mask[:, :, None]).astype(x.dtype)
        with np.errstate(invalid="ignore", divide="ignore"):
            total = np.sum(x * weights, axis=self.places, keepdims=self.keepdims)
            return (Tensor(total / np.sum(weights, axis=self.places, keepdims=self.keepdims)),)
