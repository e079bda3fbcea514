"""Dense layers along any axes, by an Einstein summation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..program.arithmetic import binary, floats, product, weighted
from ..program.copying import Array, reshaped, transposed
from ..program.ir import Builder, Value
from ..program.lowering import activated, default_code, has_kernel
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

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        given, kernel, out = self._spelled(1 + len(inputs[0].shape))
        letters = Letters(given[1:], kernel, out[1:])
        if self.quantised or not has_kernel(self.activation_name) or not letters.are_products or 0 in inputs[0].shape:
            return None
        sizes = dict(zip(letters.given, inputs[0].shape, strict=True))
        if any(sizes.setdefault(letter, size) != size for letter, size in zip(kernel, self.spec.weights[0].shape, strict=True)):
            return None  # for apply to refuse
        bias, code = self.spec.weights[1:], default_code(self.activation_name)
        own = tuple(sizes[letter] for letter in letters.new)
        # They go with the product where it leaves its output as it is to be.
        together = letters.dense and not letters.shared and all(one.shape == own for one in bias)
        value = self._product(b, floats(b, inputs[0]), letters, sizes, bias=together, activation=code or 0 if together else 0)
        for one in bias if value is not None and not together else ():
            offset = Array(b.constant(self, "bias", partial(one.astype, np.float32)), one.shape)
            value = value and binary(b, "add", value, offset)
        if value is None or (together and code is not None):
            return None if value is None else (value,)
        return (activated(b, self.activation_name, value),)

    def _product(self, b: Builder, x: Value, letters: Letters, sizes: Mapping[str, int], *, bias: bool, activation: int) -> Value | None:
        """The products, summed: by a matrix of all rows and steps, or by one for each place along the axes that all three share."""
        shared, free, summed, new = letters.shared, letters.free, letters.summed, letters.new
        whole = {group: math.prod(sizes[letter] for letter in group) for group in (free, summed, new)}
        weights = self.spec.weights

        def matrices(order: str) -> np.ndarray:
            return np.einsum(f"{letters.kernel}->{order}", weights[0].astype(np.float32)).reshape(-1, whole[summed], whole[new])

        def turned() -> np.ndarray:
            return np.ascontiguousarray(matrices(summed + new)[0].T)

        if not shared and letters.given == summed + free and letters.out == new + free and new and free:
            left = Array(b.constant(self, "kernel", turned), (whole[new], whole[summed]))
            return shaped(b, product(b, left, reshaped(b, x, (whole[summed], whole[free]))), letters.out, sizes)
        moved = permuted(b, x, letters.given, shared + free + summed)
        if moved is None:
            return None
        found: Value | None
        if shared:
            ahead = tuple(sizes[letter] for letter in shared)
            array = Array(b.constant(self, "kernel", lambda: matrices(shared + summed + new)), (*ahead, whole[summed], whole[new]))
            found = product(b, reshaped(b, moved, (*ahead, whole[free], whole[summed])), array)
        else:
            found = weighted(
                b, self, "kernel", reshaped(b, moved, (whole[free], whole[summed])), lambda: matrices(summed + new)[0],
                (whole[summed], whole[new]), bias=(lambda: weights[1].reshape(-1)) if bias and len(weights) > 1 else None,
                activation=activation,
            )  # fmt: skip
        made = shared + free + new
        value = shaped(b, found, made, sizes)
        return value and permuted(b, value, made, letters.out)


class Letters(NamedTuple):
    """The terms of an equation, less the batch's letter."""

    given: str
    kernel: str
    out: str

    @property
    def shared(self) -> str:
        """Those that all three have: there is a matrix of its own for each place."""
        return "".join(letter for letter in self.given if letter in self.kernel and letter in self.out)

    @property
    def free(self) -> str:
        """Those of the input that the kernel does not have."""
        return "".join(letter for letter in self.given if letter not in self.kernel)

    @property
    def summed(self) -> str:
        """Those along which products are summed up."""
        return "".join(letter for letter in self.given if letter in self.kernel and letter not in self.out)

    @property
    def new(self) -> str:
        """Those that the kernel brings, in the output's order."""
        return "".join(letter for letter in self.out if letter not in self.given)

    @property
    def are_products(self) -> bool:
        """Is the equation one of products of matrices?"""
        return all(len(set(term)) == len(term) for term in self) and not set(self.free) - set(self.out)

    @property
    def dense(self) -> bool:
        """Does the output end with the axes that the kernel brings, the others being in order?"""
        return self.out == self.free + self.new


def shaped(b: Builder, value: Value | None, letters: str, sizes: Mapping[str, int]) -> Value | None:
    """A value with an axis for each letter."""
    return value and reshaped(b, value, tuple(sizes[letter] for letter in letters))


def permuted(b: Builder, value: Value, letters: str, order: str) -> Value | None:
    """A value with its axes, one for each letter, in another order."""
    return value if letters == order else transposed(b, value, [letters.index(letter) for letter in order])


def aligned(array: np.ndarray, given: str, out: str) -> np.ndarray:
    """An array with an axis of size 1 for each letter of ``given`` that ``out`` lacks, with the axes of ``out``."""
    kept = array.squeeze(tuple(axis for axis, letter in enumerate(given) if letter not in out))
    letters = [letter for letter in given if letter in out]
    order = [letters.index(letter) for letter in out if letter in letters]
    new = tuple(axis for axis, letter in enumerate(out) if letter not in letters)
    return np.expand_dims(kept.transpose(order), new)
