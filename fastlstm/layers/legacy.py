"""Layers that Keras has dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .. import activations
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


class ParametricSoftplus(PlaceWise):
    """alpha log(1 + exp(beta x)), both learned."""

    CLASSES = ("ParametricSoftplus",)
    INERT = frozenset({"alpha_init", "beta_init"})

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        alpha, beta = self.cast(x.dtype)
        return (Tensor(activations.softplus(beta * x) * alpha, inputs[0].mask),)


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


class LocallyConnected1D(Layer):
    """A convolution along time with a kernel of its own for each place."""

    CLASSES = ("LocallyConnected1D",)
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
        self.filters = int(self.config["filters"])
        (self.size,) = per_axis(self.config["kernel_size"], 1)
        (self.stride,) = per_axis(self.config.get("strides", 1), 1)
        self.use_bias = bool(self.config.get("use_bias", True))
        self.activation_name, self.act = self.activation("activation")
        self.only("padding", "valid")
        self.only("data_format", "channels_last", None)
        self.only("implementation", 1)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if len(inputs[0]) != 3 or inputs[0][1] is None:
            raise self.error(f"reads (batch, timesteps, features) with a fixed number of timesteps, found shape {inputs[0]}")
        features = known_features(self, inputs[0])
        length = output_length(inputs[0][1], self.size, self.stride, 1, "valid") or 0
        self.arrays((length, self.size * features, self.filters), *([(length, self.filters)] if self.use_bias else []))
        return ((inputs[0][0], length, activations.output_features(self.activation_name, self.filters)),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        kernel, *bias = self.cast(x.dtype)
        seen = sliding_window_view(x, self.size, axis=1)[:, :: self.stride].swapaxes(2, 3)  # (batch, places, steps, features)
        value = np.einsum("bpk,pkf->bpf", seen.reshape(*seen.shape[:2], kernel.shape[1]), kernel)
        for offset in bias:
            value = value + offset
        return (Tensor(self.act(value)),)
