"""Dense layers along any axes, by an Einstein summation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..spec import LayerSpec, Shape
from . import quantised
from .base import ACROSS, Context, Layer, States, Tensor, floating, inert

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class EinsumDense(Layer):
    """activation(einsum(equation, x, kernel) + bias); the equation is ``ab,bc->ac``, with ``...`` first or last in x and output."""

    CLASSES = ("EinsumDense",)
    HONOURED = frozenset({"equation", "output_shape", "activation", "bias_axes", "quantization"})
    INERT = inert("kernel", "bias") | {"gptq_unpacked_column_size"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.activation_name, self.act = self.activation("activation")
        self.quantised = quantised.how(self)
        equation = str(self.config["equation"]).replace(" ", "")
        found = re.fullmatch(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?", equation)
        if found is None or (found[1], found[3]) != (found[5], found[7]) or (found[1] and found[3]):
            raise self.error(f"equation {equation!r} is none of the forms ab,bc->ac, ...ab,bc->...ac and ab...,bc->ac...")
        self._left, self._right = bool(found[1]), bool(found[3])
        self._terms = (found[2], found[4], found[6])

    def _spelled(self, rank: int) -> tuple[str, str, str]:
        """The equation's terms for an input of ``rank`` axes, the ellipsis spelled out."""
        given, kernel, out = self._terms
        more = rank - len(given)
        if more < 0 or (more > 0 and not (self._left or self._right)):
            raise self.error(f"equation {self.config['equation']!r} does not fit input of {rank} axes")
        extra = "".join([letter for letter in LETTERS if letter not in given + kernel + out][:more])
        return (extra + given, kernel, extra + out) if self._left else (given + extra, kernel, out + extra)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        given, kernel, out = self._spelled(len(shape))
        if not self.spec.weights or self.spec.weights[0].ndim != len(kernel):
            raise self.error(f"its kernel does not fit the equation {self.config['equation']!r}")
        if out[0] != given[0] or given[0] in kernel:
            raise self.unsupported(f"equation {self.config['equation']!r} {ACROSS}")
        sizes: dict[str, int | None] = dict(zip(given, shape, strict=True))
        for letter, size in zip(kernel, self.spec.weights[0].shape, strict=True):
            if sizes.get(letter, size) not in (size, None):
                raise self.error(f"axis {letter!r} has size {size} in its kernel, {sizes[letter]} in its input")
            sizes[letter] = size
        if any(letter not in sizes for letter in out):
            raise self.error(f"equation {self.config['equation']!r} makes an axis of nothing")
        result = tuple(sizes[letter] for letter in out)
        if self.config.get("bias_axes"):
            width = len(out) - min(out.find(letter) for letter in str(self.config["bias_axes"]))
            bias = self.spec.weights[1] if len(self.spec.weights) > 1 + bool(self.quantised) else np.zeros(0)
            if bias.ndim != width or any(n not in (1, size) for n, size in zip(bias.shape, result[-width:], strict=True)):
                raise self.error(f"bias has shape {bias.shape}, which does not fit output {result}")
        self.arrays(*(array.shape for array in self.spec.weights))
        if self.quantised:
            quantised.check(self, math.prod(sizes[letter] or 1 for letter in given if letter not in out))
            expected = tuple(sizes[letter] if letter in kernel else 1 for letter in out)
            if self.spec.weights[-1].shape != expected:
                raise self.error(f"its scale has shape {self.spec.weights[-1].shape}, expected {expected}")
        return (result,)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        given, kernel, out = self._spelled(x.ndim)
        weights, *bias = self.cast(x.dtype)

        def product(x: np.ndarray, kernel_: np.ndarray) -> np.ndarray:
            return np.einsum(f"{given},{kernel}->{out}", x, kernel_)

        if self.quantised:
            axes = tuple(axis for axis, letter in enumerate(given) if letter not in out)
            value = quantised.computed(self, x, axes, product, lambda scales: aligned(scales, given, out))
            bias.pop()
        else:
            value = product(x, weights)
        for offset in bias:
            value = value + offset
        return (Tensor(self.act(value)),)

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        return super().row_numbers(inputs, keywords, outputs) + quantised.more_numbers(self, inputs)


def aligned(array: np.ndarray, given: str, out: str) -> np.ndarray:
    """An array with an axis of size 1 for each letter of ``given`` that ``out`` lacks, with the axes of ``out``."""
    kept = array.squeeze(tuple(axis for axis, letter in enumerate(given) if letter not in out))
    letters = [letter for letter in given if letter in out]
    order = [letters.index(letter) for letter in out if letter in letters]
    new = tuple(axis for axis, letter in enumerate(out) if letter not in letters)
    return np.expand_dims(kept.transpose(order), new)
