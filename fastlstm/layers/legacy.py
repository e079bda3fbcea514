"""Layers that Keras has dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .. import activations
from ..program import lowering
from ..program.arithmetic import binary, floats, product, reduced, unary
from ..program.copying import Array, reshaped, steps_of, strided, transposed
from ..program.ir import Builder, Value
from ..program.lowering import activated, has_kernel, merged
from ..spec import LayerSpec, Shape
from .advanced_activations import PlaceWise
from .base import Context, Layer, States, Tensor, floating, inert
from .convolution import output_length, per_axis
from .core import known_features


class Highway(Layer):
    """Srivastava et al. 2015: t activation(x W + b) + (1 - t) x, with t = sigmoid(x W_carry + b_carry)."""

    CLASSES = ("Highway",)
    HONOURED = frozenset({"activation", "use_bias"})
    INERT = inert("kernel", "bias") | {"transform_bias"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.use_bias = bool(self.config.get("use_bias", True))
        self.activation_name, self.act = self.activation("activation")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        n = known_features(self, inputs[0])
        self.arrays((n, n), (n, n), *([(n,), (n,)] if self.use_bias else []))
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        kernel, carry, *biases = self.cast(x.dtype)
        bias, carry_bias = biases or (x.dtype.type(0), x.dtype.type(0))
        transform = activations.sigmoid(x @ carry + carry_bias)
        return (Tensor(self.act(x @ kernel + bias) * transform + (1 - transform) * x),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x, n = floats(b, inputs[0]), inputs[0].shape[-1]
        if not has_kernel(self.activation_name) or 0 in x.shape:
            return None
        kernel, carry, *biases = self.cast(np.float32)
        bias, carry_bias = biases or (None, None)
        made = activated(b, self.activation_name, dense(b, self, "kernel", x, kernel, bias))
        transform = activated(b, "sigmoid", dense(b, self, "carry", x, carry, carry_bias))
        kept = unary(b, "affine", transform, -1.0, 1.0)
        if kept is None or made.shape[-1] != n:
            return None
        return (merged(b, "add", [merged(b, "multiply", [made, transform]), merged(b, "multiply", [kept, x])]),)


class MaxoutDense(Layer):
    """Goodfellow et al. 2013: the largest of ``nb_feature`` linear maps, for each unit."""

    CLASSES = ("MaxoutDense",)
    HONOURED = frozenset({"units", "nb_feature", "use_bias"})
    INERT = inert("kernel", "bias")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        pieces, units = int(self.config["nb_feature"]), int(self.config["units"])
        features = known_features(self, inputs[0])
        self.arrays((pieces, features, units), *([(pieces, units)] if self.config.get("use_bias", True) else []))
        return ((inputs[0][0], units),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        kernel, *bias = self.cast(x.dtype)
        each = np.einsum("bf,pfu->bpu", x, kernel)
        for offset in bias:
            each = each + offset
        return (Tensor(np.max(each, axis=1)),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = floats(b, inputs[0])
        kernel, *bias = self.cast(np.float32)
        pieces, features, units = kernel.shape
        if x.shape != (features,) or kernel.size == 0:
            return None
        each = dense(b, self, "kernel", x, kernel.swapaxes(0, 1).reshape(features, -1), *(offset.reshape(-1) for offset in bias))
        value = reduced(b, "max", reshaped(b, each, (pieces, units)), [0])
        return value and (value,)


def dense(b: Builder, layer: Layer, what: str, x: Value, kernel: np.ndarray, bias: np.ndarray | None = None) -> Value:
    """x @ kernel + bias, along the last axis."""
    shape = (math.prod(x.shape[:-1]), *kernel.shape)
    out = lowering.dense(b, layer, what, b.read(x), shape, lambda: kernel, None if bias is None else lambda: bias)
    return Value(out, (*x.shape[:-1], kernel.shape[1]))


class ParametricSoftplus(PlaceWise):
    """alpha log(1 + exp(beta x)), both learned."""

    CLASSES = ("ParametricSoftplus",)
    INERT = frozenset({"alpha_init", "beta_init"})

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        alpha, beta = self.cast(x.dtype)
        return (Tensor(activations.softplus(beta * x) * alpha, inputs[0].mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        return self.bent(b, inputs, "softplus")


class SReLU(PlaceWise):
    """Jin et al. 2015: slope a_left left of t_left, 1 up to t_left + abs(t_right), a_right beyond.

    ``clip_left``: the upper bound of the middle piece bounds the left one too, as it does where Theano computed.
    """

    CLASSES = ("SReLU",)
    HONOURED = PlaceWise.HONOURED | {"clip_left"}
    INERT = frozenset({"t_left_init", "a_left_init", "t_right_init", "a_right_init"}) | inert("t_left", "a_left", "t_right", "a_right")

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        t_left, a_left, t_right, a_right = self.cast(x.dtype)
        width = np.abs(t_right)
        beyond = x - t_left
        left = np.minimum(a_left * beyond, width) if self.config.get("clip_left", False) else a_left * beyond
        middle = np.where(beyond > 0, np.minimum(beyond, width), left)
        return (Tensor(t_left + middle + np.maximum(beyond - width, 0) * a_right, inputs[0].mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        return self.bent(b, inputs, "srelu_clipped" if self.config.get("clip_left", False) else "srelu")


class LocallyConnected(Layer):
    """A convolution along time or over images with a kernel of its own for each place."""

    CLASSES = ("LocallyConnected1D", "LocallyConnected2D")
    HONOURED = frozenset(
        {
            "filters",
            "kernel_size",
            "strides",
            "padding",
            "data_format",
            "activation",
            "use_bias",
            "implementation",
        }
    )
    INERT = inert("kernel", "bias")

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.axes = self.row.axes
        self.filters = int(self.config["filters"])
        self.size = per_axis(self.config["kernel_size"], self.axes)
        self.strides = per_axis(self.config.get("strides", 1), self.axes)
        self.channels_first = self.config.get("data_format") == "channels_first"
        self.use_bias = bool(self.config.get("use_bias", True))
        self.activation_name, self.act = self.activation("activation")
        self.only("padding", "valid")
        self.only("implementation", 1)
        if any(len(sizes) != self.axes or min(sizes) < 1 for sizes in (self.size, self.strides)):
            raise self.error(f"kernel_size {self.size} or strides {self.strides} do not fit {self.axes}D")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        if len(shape) != self.axes + 2 or None in shape[1:]:
            raise self.error(f"reads input of {self.axes + 2} axes, all of known sizes but the batch, found shape {shape}")
        places = self.places(shape[1:])
        count, window = math.prod(places), math.prod(self.size) * (shape[1 if self.channels_first else -1] or 0)
        self.arrays((count, window, self.filters), *([(*places, self.filters)] if self.use_bias else []))
        made = (self.filters, *places) if self.channels_first else (*places, self.filters)
        return ((shape[0], *made[:-1], activations.output_features(self.activation_name, made[-1])),)

    def places(self, row: Shape) -> tuple[int, ...]:
        """How many places there are along each axis, for input of a shape less the batch."""
        spatial = row[1:] if self.channels_first else row[:-1]
        return tuple(output_length(n, k, s, 1, "valid") or 0 for n, k, s in zip(spatial, self.size, self.strides, strict=True))

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        return super().row_numbers(inputs, keywords, outputs) + 2 * math.prod(self.spec.weights[0].shape[:2])

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        kernel, *bias = self.cast(x.dtype)
        first = 2 if self.channels_first else 1
        spatial = tuple(range(first, first + self.axes))
        seen = sliding_window_view(x, self.size, axis=spatial)
        seen = seen[(slice(None),) * first + tuple(slice(None, None, stride) for stride in self.strides)]
        # (batch, *places, *size, channels), or with the channels before the window's size, as the kernel has them
        seen = np.moveaxis(seen, 1, self.axes + 1) if self.channels_first else np.moveaxis(seen, self.axes + 1, -1)
        value = np.einsum("bpk,pkf->bpf", seen.reshape(len(x), *kernel.shape[:2]), kernel)
        value = value.reshape(len(x), *self.places(x.shape[1:]), self.filters)
        if self.channels_first:
            value = np.moveaxis(value, -1, 1)
        for offset in bias:  # with the channels first, Keras takes its numbers as they lie
            value = value + offset.reshape(value.shape[1:])
        return (Tensor(self.act(value)),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x, places = floats(b, inputs[0]), self.places(inputs[0].shape)
        if not has_kernel(self.activation_name):
            return None
        every = steps_of(x.shape)
        spatial, channels = (every[1:], every[0]) if self.channels_first else (every[:-1], every[-1])
        steps = [step * stride for step, stride in zip(spatial, self.strides, strict=True)]
        count = x.shape[0 if self.channels_first else -1]
        if self.channels_first:
            seen = strided(b, x, (*places, count, *self.size), (*steps, channels, *spatial))
        else:
            seen = strided(b, x, (*places, *self.size, count), (*steps, *spatial, channels))
        if seen is None:
            return None
        kernel = Array(b.constant(self, "kernel", lambda: self.spec.weights[0].astype(np.float32)), self.spec.weights[0].shape)
        value = product(b, reshaped(b, seen, (kernel.shape[0], 1, kernel.shape[1])), kernel)
        value = value and reshaped(b, value, (*places, self.filters))
        if value and self.channels_first:
            value = transposed(b, value, (self.axes, *range(self.axes)))
        if value and self.use_bias:
            bias = self.spec.weights[1]
            value = binary(b, "add", value, Array(b.constant(self, "bias", lambda: bias.astype(np.float32)), value.shape))
        return value and (activated(b, self.activation_name, value),)
