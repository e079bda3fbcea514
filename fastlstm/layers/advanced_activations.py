"""Activations that are layers of their own, with parameters or weights. All pass their mask on, but ReLU of old generations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from .. import activations
from ..program.arithmetic import binary, floats, of_mask, selected, unary
from ..program.ir import Builder, Mask, Value
from ..program.lowering import activated, has_kernel
from ..program.normalising import curved, softmax_over
from ..spec import LayerSpec, Shape
from . import given_masks
from .attention import FAR
from .base import Context, Layer, States, Tensor, floating, inert

M = TypeVar("M", np.ndarray, Mask)


class ActivationLayer(Layer):
    """An activation with parameters.

    Attributes
    ----------
    activation_name
        Its canonical form.
    """

    STEPWISE = True

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.activation_name = self.canonical()
        self.act = activations.function(self.activation_name)

    def canonical(self) -> str | dict[str, Any]:
        """The canonical activation that the config describes."""
        return activations.canonical({"class_name": self.spec.class_name, "config": self.config}, keras3=False)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        return (Tensor(self.act(floating(inputs[0].value)), self.handed_on(inputs[0].mask)),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        if not has_kernel(self.activation_name):
            return None
        return (activated(b, self.activation_name, floats(b, inputs[0]))._replace(mask=self.handed_on(inputs[0].mask)),)

    def handed_on(self, mask: M | None) -> M | None:
        """The mask of the output."""
        return mask


class LeakyReLU(ActivationLayer):
    CLASSES = ("LeakyReLU",)
    HONOURED = frozenset({"negative_slope", "alpha"})


class ReLU(ActivationLayer):
    CLASSES = ("ReLU",)
    HONOURED = frozenset({"max_value", "negative_slope", "threshold"})

    def handed_on(self, mask: M | None) -> M | None:
        """The mask of the output: up to TensorFlow 2.4 this layer did not say that it takes masks, and they ended there."""
        return mask if self.rules.relu_masks else None


class ELU(ActivationLayer):
    CLASSES = ("ELU",)
    HONOURED = frozenset({"alpha"})


class ThresholdedReLU(ActivationLayer):
    CLASSES = ("ThresholdedReLU",)
    HONOURED = frozenset({"theta"})


class Softmax(ActivationLayer):
    """Along one axis or several.

    Newer generations take its input's mask for one of places. The mask of steps that a layer before makes broadcasts to the input
    by accident alone, where sizes happen to be equal.
    """

    CLASSES = ("Softmax",)
    HONOURED = frozenset({"axis", "robust_masking"})

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return self.activation_name == "softmax"  # else it has other axes than the last

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        self.row_axes(self.config.get("axis", -1), len(inputs[0]))
        return super().shapes(inputs, keywords)

    def takes_mask(self, mask: Shape, x: Shape) -> bool:
        """See base.Layer. With fewer axes than the input it would go along the last ones, of which the first would be the batch."""
        return len(mask) == len(x) and all(None in (m, n) or m in (1, n) for m, n in zip(mask[1:], x[1:], strict=True))

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x, mask = inputs[0]
        if "mask" not in keywords:
            self._check(mask)
        if "mask" not in keywords or mask is None:
            return super().apply(inputs, keywords, states)
        x = floating(x)
        weights = given_masks.numbers(keywords)
        if weights is None:
            weights = mask
        elif self.rules.softmax_mask == "half":
            weights = weights > 0.5
        lowered = x - x.dtype.type(FAR) * (1 - weights.astype(x.dtype))
        out = self.act(lowered)
        if self.rules.blind_attention == "zeros":
            out = np.where(weights, out, x.dtype.type(0))
        return (Tensor(out, mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        if b.present is None and "mask" not in keywords:  # else the mask may be that of the padding
            self._check(inputs[0].mask)
        x, mask = floats(b, inputs[0]), inputs[0].mask
        axes = [axis - 1 for axis in self.row_axes(self.config.get("axis", -1), len(x.shape) + 1)]
        if "mask" not in keywords or mask is None:
            value = softmax_over(b, x, axes)
            return value and (value._replace(mask=mask),)
        weights = given_masks.value_of_numbers(keywords)
        if weights is None:
            weights = of_mask(b, mask)
        elif self.rules.softmax_mask == "half":
            weights = binary(b, "greater", weights, 0.5)
        away = weights and unary(b, "affine", weights, FAR, -FAR)
        lowered = away and binary(b, "add", x, away)
        value = lowered and softmax_over(b, lowered, axes)
        if value and weights and self.rules.blind_attention == "zeros":
            value = selected(b, weights, value, 0.0)
        return value and (value._replace(mask=mask),)

    def _check(self, mask: Any) -> None:
        if mask is not None and self.rules.softmax_reads_mask:
            raise self.unsupported("its input has a mask of steps, which Keras takes for one of places and can apply to few shapes alone")


class PlaceWise(Layer):
    """The base of activations with parameters for each place, of which ``shared_axes`` have one for all."""

    HONOURED = frozenset({"shared_axes"})

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return 1 in (self.config.get("shared_axes") or ())

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shared = self.config.get("shared_axes") or ()
        sizes = [1 if axis in shared else n for axis, n in enumerate(inputs[0][1:], start=1)]
        if None in sizes:
            raise self.error(f"a size of its input is not known (shape {inputs[0]})")
        self.arrays(*[tuple(size for size in sizes if size is not None)] * len(self.kept))
        return (inputs[0],)

    def bent(self, b: Builder, inputs: Sequence[Value], curve: str) -> tuple[Value, ...] | None:
        """Its curve as a kernel call."""
        shared = self.config.get("shared_axes") or ()
        axes = [axis for axis in range(len(inputs[0].shape)) if axis + 1 not in shared]
        if not axes:
            return None
        parameters = [partial(array.reshape, [inputs[0].shape[axis] for axis in axes]) for array in self.spec.weights]
        value = curved(b, self, floats(b, inputs[0]), axes, curve, parameters)
        return value and (value._replace(mask=inputs[0].mask),)


class PReLU(PlaceWise):
    """max(x, 0) + alpha min(x, 0)."""

    CLASSES = ("PReLU",)
    INERT = inert("alpha")

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        (alpha,) = self.cast(x.dtype)
        return (Tensor(np.maximum(x, 0) + alpha * np.minimum(x, 0), inputs[0].mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        if self.spec.weights[0].size == 1:
            slope = {"name": "leaky_relu", "negative_slope": self.spec.weights[0].item()}
            return (activated(b, slope, floats(b, inputs[0]))._replace(mask=inputs[0].mask),)
        return self.bent(b, inputs, "prelu")
