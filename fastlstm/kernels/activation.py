"""Every native activation on a vector, by its code (``activations.NATIVE``).

:func:`activated` is a call; kernels inline the activations that are usual where they work, and call it for all others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activations import NATIVE
from .elementary import at_least, at_most, exp, expm1_negative, fma, magnitude, normal_cdf, select, sigmoid, softplus, tanh
from .flags import compiled, inlined

TANH, SIGMOID, RELU = NATIVE["tanh"], NATIVE["sigmoid"], NATIVE["relu"]
HARD_SIGMOID, HARD_SIGMOID_KERAS3 = NATIVE["hard_sigmoid"], NATIVE["hard_sigmoid_keras3"]
ELU, SELU, SOFTPLUS, SOFTSIGN, EXPONENTIAL = (NATIVE[name] for name in ("elu", "selu", "softplus", "softsign", "exponential"))
SILU, GELU, GELU_TANH, RELU6, MISH = (NATIVE[name] for name in ("silu", "gelu", "gelu_tanh", "relu6", "mish"))
LEAKY_RELU = NATIVE["leaky_relu"]


@inlined
def relu(x: Any) -> Any:
    """max(x, 0)."""
    return at_least(x, 0.0)


@inlined
def hard_sigmoid(x: Any) -> Any:
    """hard_sigmoid up to Keras 2."""
    return at_least(at_most(fma(x, 0.2, 0.5), 1.0), 0.0)


@inlined
def hard_sigmoid_keras3(x: Any) -> Any:
    """hard_sigmoid of Keras 3."""
    return at_least(at_most(x + 3.0, 6.0), 0.0) / 6.0


@inlined
def _elu(x: Any, alpha: float) -> Any:
    return select(x > 0.0, x, expm1_negative(at_most(x, 0.0)) * alpha)


@inlined
def _gelu_tanh(x: Any) -> Any:
    # (1 + tanh(u)) / 2 = sigmoid(2 u), without cancellation.
    return x * sigmoid((x + x * x * x * 0.044715) * 1.5957691216057308)


@inlined
def _mish(x: Any) -> Any:
    # tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2); from 20 on it rounds to 1.
    e = exp(at_most(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


@compiled
def activated(code: int, x: Any, alpha: float) -> Any:
    """The activation of that code. ``alpha``: slope of leaky_relu, factor of elu; the others leave it alone."""
    if code == TANH:
        return tanh(x)
    if code == SIGMOID:
        return sigmoid(x)
    if code == RELU:
        return relu(x)
    if code == HARD_SIGMOID:
        return hard_sigmoid(x)
    if code == HARD_SIGMOID_KERAS3:
        return hard_sigmoid_keras3(x)
    if code == ELU:
        return _elu(x, alpha)
    if code == SELU:
        return _elu(x, 1.6732632423543772) * 1.0507009873554805
    if code == SOFTPLUS:
        return softplus(x)
    if code == SOFTSIGN:
        return x / (magnitude(x) + 1.0)
    if code == EXPONENTIAL:
        return exp(x)
    if code == SILU:
        return x * sigmoid(x)
    if code == GELU:
        return x * normal_cdf(x)
    if code == GELU_TANH:
        return _gelu_tanh(x)
    if code == RELU6:
        return at_most(at_least(x, 0.0), 6.0)
    if code == MISH:
        return _mish(x)
    if code == LEAKY_RELU:
        return select(x >= 0.0, x, x * alpha)
    return x


@inlined
def default_alpha(code: int) -> Any:
    """The parameter that an activation takes where none is given, as in Keras."""
    return np.float32(0.2) if code == LEAKY_RELU else np.float32(1.0)
