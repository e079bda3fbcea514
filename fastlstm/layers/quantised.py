"""Products with whole numbers, as Keras 3 computes layers after ``quantize("int8")``.

The kernel is int8, each column (or what stands for it in an einsum) times a scale of its own. At each call the inputs are made whole
numbers too: those that go into one sum are multiplied by 127 over the largest of them, and rounded. The sums of products of whole numbers
are exact, in any order; only then they are divided by both scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..program.arithmetic import binary, chained, clipped, reduced, unary
from ..program.copying import Array
from ..program.ir import Builder, Value
from ..spec import Shape
from .base import Layer, numbers_in

#: How a layer may be quantised, as ``formats`` names it: its inputs as well, or its weights alone.
BOTH, WEIGHTS_ALONE = "int8", "int8_weights"
LARGEST, EPSILON = 127, 1e-7
#: Beyond this, not every whole number is a float32; and no product of two int8 is larger.
EXACT, PRODUCT = 1 << 24, 1 << 14
#: The sums of Keras have 32 bits.
LONGEST = (1 << 31) // PRODUCT

#: An array of inputs and the kernel, to sums of products.
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def how(layer: Layer) -> str:
    """How a layer is quantised; nothing where it is not."""
    value = layer.config.get("quantization")
    if value not in (None, BOTH, WEIGHTS_ALONE):
        layer.refuse(f"argument quantization={value!r} is not computed")
    return str(value or "")


def check(layer: Layer, length: int) -> None:
    """Refuse a quantised layer whose kernel is not of whole numbers, or whose sums of ``length`` products Keras cannot hold either."""
    if layer.spec.weights[0].dtype != np.int8:
        raise layer.error(f"its kernel is of {layer.spec.weights[0].dtype}, expected int8, as it is quantised")
    if length >= LONGEST:
        raise layer.unsupported(f"sums of {length} products of int8 go beyond int32")


def whole(x: np.ndarray, axes: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Inputs as whole numbers, and the scales that they were multiplied by: one for all that differ in ``axes`` alone.

    In the dtype that the layer has in its file, also where more exact inputs are at hand: it is in that dtype that Keras rounds.
    """
    x = x.astype(dtype, copy=False)
    with np.errstate(all="ignore"):  # NaN and infinities are data
        scale = LARGEST / (np.abs(x).max(axis=axes, keepdims=True) + x.dtype.type(EPSILON))
        return np.clip(np.round(x * scale), -LARGEST, LARGEST), scale


def computed(layer: Layer, x: np.ndarray, axes: tuple[int, ...], product: Product, align: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The product of inputs and a quantised kernel.

    Parameters
    ----------
    layer
        Whose arrays are the kernel first and its scale last.
    x
        The inputs.
    axes
        Their axes that are summed over.
    product
        What makes the sums.
    align
        What gives the inputs' scales, kept along the axes that are summed over, the axes of the sums.
    """
    kernel, *_, scale = layer.cast(x.dtype)
    with np.errstate(all="ignore"):
        if layer.config["quantization"] == WEIGHTS_ALONE:
            return product(x, kernel) / scale
        numbers, scales = whole(x, axes, np.float64 if layer.spec.dtype == "float64" else np.float32)
        exact = np.float32 if math.prod(x.shape[axis] for axis in axes) * PRODUCT <= EXACT else np.float64
        sums = product(numbers.astype(exact, copy=False), layer.cast(exact)[0])
        return sums.astype(x.dtype, copy=False) / (scale * align(scales).astype(x.dtype, copy=False))


def lowered(b: Builder, layer: Layer, x: Value, product: Callable[[Value], Value]) -> Value | None:
    """:func:`computed` as kernel calls, of sums along the last axis, which ``product`` writes; None where float32 may not hold the sums."""
    array = layer.cast(np.float32)[-1]
    scale = Array(b.constant(layer, "scale", lambda: array), array.shape)
    if layer.config["quantization"] == WEIGHTS_ALONE:
        return binary(b, "divide", product(x), scale)
    if x.shape[-1] * PRODUCT > EXACT:
        return None
    largest = chained(unary(b, "absolute", x), lambda v: reduced(b, "max", v, [len(v.shape) - 1], True))
    scales = chained(largest, lambda v: binary(b, "add", v, EPSILON), lambda v: binary(b, "divide", float(LARGEST), v))
    numbers = chained(
        scales, lambda v: binary(b, "multiply", x, v), lambda v: unary(b, "round", v), lambda v: clipped(b, v, -LARGEST, LARGEST)
    )
    both = chained(scales, lambda v: binary(b, "multiply", scale, v))
    return numbers and both and binary(b, "divide", product(numbers), both)


def more_numbers(layer: Layer, inputs: Sequence[Shape]) -> int:
    """How many numbers a quantised layer makes of a row of its inputs."""
    return 3 * numbers_in(*inputs) if layer.config.get("quantization") else 0
