"""Numeric preprocessing inside models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..program.arithmetic import floats, unary
from ..program.ir import Builder, Value
from ..program.normalising import by_place, nothing
from ..spec import LayerSpec, Shape
from .base import Context, Layer, States, Tensor, floating


def numbers(value: Any) -> np.ndarray:
    """A number or nested lists of them; Keras 3 wraps NumPy arrays in a dict."""
    while isinstance(value, Mapping):
        value = value.get("config", value.get("value", value))
    return np.asarray(value, np.float64)


def passed(layer: Layer, given: Tensor | Value) -> Any:
    """The mask that a layer of this file hands on."""
    return given.mask if layer.rules.preprocessing_masks else None


def beside(array: np.ndarray, shape: Shape) -> tuple[int, ...] | None:
    """The sizes of an array beside tensors of a shape, less the batch; None where it does not broadcast to rows of them."""
    sizes = (*(1,) * (len(shape) - array.ndim), *array.shape)
    if len(sizes) > len(shape) or sizes[0] != 1 or any(n is not None and m not in (1, n) for m, n in zip(sizes, shape, strict=True)):
        return None
    return sizes[1:]


class Rescaling(Layer):
    """x * scale + offset."""

    CLASSES = ("Rescaling",)
    HONOURED = frozenset({"scale", "offset", "data_format"})

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return all((beside(array, inputs[0]) or (1,))[0] == 1 for array in self.by)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        for name, array in zip(("scale", "offset"), self.by, strict=True):
            if beside(array, inputs[0]) is None:
                raise self.error(f"its {name} of shape {array.shape} does not broadcast to input of shape {inputs[0]}")
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        scale, offset = self.by
        return (Tensor(x * scale.astype(x.dtype) + offset.astype(x.dtype), passed(self, inputs[0])),)

    @property
    def by(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and offset. Keras makes the two float32 numbers before it computes."""
        scale, offset = (numbers(self.config.get(key, default)).astype(np.float32) for key, default in (("scale", 1.0), ("offset", 0.0)))
        return scale, offset

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        scale, offset = self.by
        each = [beside(array, (1, *x.shape)) or () for array in (scale, offset)]
        axes = sorted({axis for sizes in each for axis, size in enumerate(sizes) if size != 1})
        if not axes:
            value = unary(b, "affine", x, scale.item(), offset.item())
        else:
            sizes = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
            kept = [size for axis, size in enumerate(x.shape) if axis in axes]

            def spread(array: np.ndarray) -> np.ndarray:
                return np.broadcast_to(array, (1, *sizes)).reshape(kept)

            value = by_place(b, self, x, axes, (nothing, lambda: spread(scale), lambda: spread(offset)))
        return value and (value._replace(mask=passed(self, inputs[0])),)


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

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return 1 not in self.row_axes(self.axis, len(inputs[0]))

    def moments(self, dtype: Any, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation, in a shape where they are more than a number each."""
        if self.spec.weights:
            found = self.cast(dtype)[:2]
        else:
            found = tuple(numbers(self.config[key]).astype(np.float32).astype(dtype) for key in ("mean", "variance"))
        mean, variance = (array.reshape(shape) if array.size > 1 else array.reshape(()) for array in found)
        return mean, np.maximum(np.sqrt(variance), np.dtype(dtype).type(1e-7))

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        axes = self.row_axes(self.axis, x.ndim)
        mean, deviation = self.moments(x.dtype, [n if axis in axes else 1 for axis, n in enumerate(x.shape)])
        value = mean + x * deviation if self.config.get("invert", False) else (x - mean) / deviation
        return (Tensor(value, passed(self, inputs[0])),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        axes = [axis - 1 for axis in self.row_axes(self.axis, len(x.shape) + 1)]
        shape = [x.shape[axis] for axis in axes]

        def mean() -> np.ndarray:
            return self.moments(np.float64, shape)[0]

        def deviation() -> np.ndarray:
            return self.moments(np.float64, shape)[1]

        inverted = self.config.get("invert", False)
        made = (nothing, deviation, mean) if inverted else (mean, lambda: 1 / deviation(), nothing)
        value = by_place(b, self, x, axes, made)
        return value and (value._replace(mask=passed(self, inputs[0])),)
