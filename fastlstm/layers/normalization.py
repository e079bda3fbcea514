"""Normalisation layers. All pass their mask on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..program.arithmetic import floats
from ..program.ir import Builder, Value
from ..program.normalising import Made, Norm, by_place, normalised, normalised_groups, nothing
from ..spec import LayerSpec, Shape
from .base import Context, Layer, States, Tensor, floating, inert
from .merging import LEAST_SQUARE, unit_length

#: The axes of inputs whose statistics TensorFlow's fused implementation computes.
FUSED_AXES = (4, 5)


class Normalizing(Layer):
    """The base of layers with axis, scale (gamma) and offset (beta)."""

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.axis = self.config.get("axis", -1)
        self.epsilon = float(self.config.get("epsilon", 1e-3))
        self.scale = bool(self.config.get("scale", True))
        self.center = bool(self.config.get("center", True))

    def parameter_shape(self, shape: Shape) -> tuple[int, ...]:
        """Shape of the parameters for an input shape."""
        sizes = [shape[axis] for axis in self.row_axes(self.axis, len(shape))]
        if None in sizes:
            raise self.error(f"the size of axis {self.axis} of its input is not known (shape {shape})")
        return tuple(size for size in sizes if size is not None)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        self.row_axes(self.axis, len(inputs[0]))
        self.arrays(*[self.parameter_shape(inputs[0]) for _ in self.kept])  # without any no size need be known
        return (inputs[0],)

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return self.row_axes(self.axis, len(inputs[0])) == (len(inputs[0]) - 1,)

    def parameters(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Scale, offset and the other arrays, with axes of size 1 where the input has others."""
        axes = self.row_axes(self.axis, x.ndim)
        return self.kept_as(x.dtype, [n if axis in axes else 1 for axis, n in enumerate(x.shape)])

    def kept_as(self, dtype: Any, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Scale, offset and the other arrays, in a shape."""
        rest = [array.reshape(shape) for array in self.cast(dtype)]
        scale = rest.pop(0) if self.scale else np.ones((), dtype)
        offset = rest.pop(0) if self.center else np.zeros((), dtype)
        return scale, offset, rest

    @property
    def made(self) -> tuple[Made | None, Made | None]:
        """Scale and offset to be packed, where it has them."""
        rest = list(self.spec.weights)
        scale = rest.pop(0) if self.scale else None
        offset = rest.pop(0) if self.center else None
        return None if scale is None else lambda: scale, None if offset is None else lambda: offset


def with_mask(value: Value | None, given: Value) -> tuple[Value, ...] | None:
    """The output of a layer that passes its input's mask on."""
    return value and (value._replace(mask=given.mask),)


class BatchNormalization(Normalizing):
    """With the moving mean and variance of training; called with training=True, with those of the very batch."""

    CLASSES = ("BatchNormalization", "SyncBatchNormalization")
    HONOURED = frozenset({"axis", "epsilon", "center", "scale", "renorm", "virtual_batch_size", "adjustment", "mode", "synchronized"})
    INERT = inert("gamma", "beta") | {
        "momentum",
        "fused",
        "moving_mean_initializer",
        "moving_variance_initializer",
        "renorm_clipping",
        "renorm_momentum",
    }

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.only("renorm", False, None)
        self.only("virtual_batch_size", None)
        self.only("adjustment", None)
        self.only("mode", 0)

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        return bool(keywords.get("training")) and self.config.get("trainable") is not False

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        gamma, beta, (mean, variance) = self.parameters(x)
        if self.crosses_rows([x.shape], keywords):
            mean, variance = self._of_batch(x, inputs[0].mask)
        factor = gamma / np.sqrt(variance + x.dtype.type(self.epsilon))
        return (Tensor((x - mean) * factor + beta, inputs[0].mask),)

    def _of_batch(self, x: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance over all axes but its own, of the steps that are there where the generation heeds masks."""
        axes = self.row_axes(self.axis, x.ndim)
        others = tuple(axis for axis in range(x.ndim) if axis not in axes)
        weights = np.ones((1,) * x.ndim, x.dtype) if mask is None else self._weights(x, mask)
        count = np.sum(np.broadcast_to(weights, x.shape), axis=others, keepdims=True)
        mean = np.sum(x * weights, axis=others, keepdims=True) / count
        return mean, np.sum(weights * (x - mean) ** 2, axis=others, keepdims=True) / count

    def _weights(self, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """How much each step of a masked input counts."""
        axes = self.row_axes(self.axis, x.ndim)
        # Images go through the fused implementation of TensorFlow, which knows no masks.
        fused = self.spec.dtype != "float64" and not self.config.get("synchronized", False)
        if not self.rules.batch_statistics_mask or (fused and x.ndim in FUSED_AXES and axes in ((1,), (x.ndim - 1,))):
            return np.ones((1,) * x.ndim, x.dtype)
        if mask.ndim != x.ndim - 1:
            raise self.error(f"its input has a mask of {mask.ndim} axes, expected {x.ndim - 1}: Keras cannot run it either")
        return mask[..., np.newaxis].astype(x.dtype)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        axes = self.row_axes(self.axis, len(inputs[0].shape) + 1)
        sizes = [inputs[0].shape[axis - 1] for axis in axes]

        def statistics(which: int) -> np.ndarray:
            gamma, beta, (mean, variance) = self.kept_as(np.float64, sizes)
            return np.asarray((mean, gamma / np.sqrt(variance + self.epsilon), beta)[which])

        moments = partial(statistics, 0), partial(statistics, 1), partial(statistics, 2)
        return with_mask(by_place(b, self, floats(b, inputs[0]), [axis - 1 for axis in axes], moments), inputs[0])


class LayerNormalization(Normalizing):
    """With the mean and variance of each row along ``axis``."""

    CLASSES = ("LayerNormalization",)
    HONOURED = frozenset({"axis", "epsilon", "center", "scale", "rms_scaling"})
    INERT = inert("gamma", "beta")

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.only("rms_scaling", False, None)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        axes = self.row_axes(self.axis, x.ndim)
        gamma, beta, _ = self.parameters(x)
        centred = x - np.mean(x, axis=axes, keepdims=True)
        variance = np.mean(centred * centred, axis=axes, keepdims=True)
        return (Tensor(centred * (gamma / np.sqrt(variance + x.dtype.type(self.epsilon))) + beta, inputs[0].mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        axes = [axis - 1 for axis in self.row_axes(self.axis, len(inputs[0].shape) + 1)]
        return with_mask(normalised(b, self, floats(b, inputs[0]), axes, Norm("variance", self.epsilon), *self.made), inputs[0])


class GroupNormalization(Normalizing):
    """With the mean and variance of each row and group of channels."""

    CLASSES = ("GroupNormalization",)
    HONOURED = frozenset({"axis", "epsilon", "center", "scale", "groups"})
    INERT = inert("gamma", "beta")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        (channels,) = self.parameter_shape(inputs[0])
        groups = self._groups(channels)
        if groups < 1 or channels % groups:
            raise self.error(f"groups={self.config.get('groups')} do not divide {channels} channels")
        return super().shapes(inputs, keywords)

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return False  # its statistics go over all axes but that of the channels

    def _groups(self, channels: int) -> int:
        groups = int(self.config.get("groups", 32))
        return channels if groups == -1 else groups

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        (axis,) = self.row_axes(self.axis, x.ndim)
        groups = self._groups(x.shape[axis])
        parts = x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])
        others = tuple(n for n in range(1, parts.ndim) if n != axis)
        centred = parts - np.mean(parts, axis=others, keepdims=True)
        variance = np.mean(centred * centred, axis=others, keepdims=True)
        gamma, beta, _ = self.parameters(x)
        normal = (centred / np.sqrt(variance + x.dtype.type(self.epsilon))).reshape(x.shape)
        return (Tensor(normal * gamma + beta, inputs[0].mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        (axis,) = self.row_axes(self.axis, len(x.shape) + 1)
        groups = self._groups(x.shape[axis - 1])
        return with_mask(normalised_groups(b, self, x, axis - 1, groups, Norm("variance", self.epsilon), *self.made), inputs[0])


class Dividing(Layer):
    """The base of layers that divide by what is along ``axis``."""

    def axes(self, rank: int) -> tuple[int, ...]:
        """Its axes, for input of so many."""
        return self.row_axes(self.config.get("axis", -1), rank)

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return self.axes(len(inputs[0])) == (len(inputs[0]) - 1,)


class RMSNormalization(Dividing):
    """Divided by the root mean square along ``axis``, times a learned scale."""

    CLASSES = ("RMSNormalization",)
    HONOURED = frozenset({"axis", "epsilon"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.epsilon = float(self.config.get("epsilon", 1e-6))

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        self.axes(len(shape))
        axis = self.config.get("axis", -1)
        sizes = tuple(shape[one] for one in sorted([axis] if isinstance(axis, int) else axis))
        if None in sizes:
            raise self.error(f"the size of its axes is not known (shape {shape})")
        self.arrays(tuple(size for size in sizes if size is not None))
        # Keras multiplies by the scale as it is, which goes along the last axes then, whichever were normalised along.
        last = shape[1:][-len(sizes) :]
        if len(last) != len(sizes) or any(None not in (m, n) and m not in (1, n) for m, n in zip(sizes, last, strict=True)):
            raise self.error(f"its scale of shape {sizes} does not fit the last axes of its input {shape}: Keras cannot run it either")
        return (shape,)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        power = np.mean(x * x, axis=self.axes(x.ndim), keepdims=True)
        # Unlike its neighbours it does not declare that it supports masks.
        return (Tensor(x / np.sqrt(power + x.dtype.type(self.epsilon)) * self.cast(x.dtype)[0]),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x, norm, scale = floats(b, inputs[0]), Norm("mean_square", self.epsilon), self.spec.weights[0]
        axes = [axis - 1 for axis in self.axes(len(x.shape) + 1)]
        last = list(range(len(x.shape) - scale.ndim, len(x.shape)))
        if axes == last:
            value = normalised(b, self, x, axes, norm, lambda: scale)
        else:
            value = normalised(b, self, x, axes, norm)
            wide = [axis for axis, size in zip(last, scale.shape, strict=True) if size > 1]
            value = value and by_place(b, self, value, wide, (nothing, scale.squeeze, nothing))
        return value and (value,)


class UnitNormalization(Dividing):
    """Divided by the length along ``axis``."""

    CLASSES = ("UnitNormalization",)
    HONOURED = frozenset({"axis"})

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        self.axes(len(inputs[0]))
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        return (Tensor(unit_length(x, self.axes(x.ndim)), inputs[0].mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        axes = [axis - 1 for axis in self.axes(len(inputs[0].shape) + 1)]
        return with_mask(normalised(b, self, floats(b, inputs[0]), axes, Norm("length", LEAST_SQUARE)), inputs[0])
