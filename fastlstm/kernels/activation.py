"""Every native activation on a vector, by its code (``activations.NATIVE``).

:func:`activated` is a call; kernels inline the activations that are usual where they work, and call it for all others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activations import NATIVE
from .elementary import at_least, at_most, exp, expm1, expm1_negative, fma, magnitude, normal_cdf, select, sigmoid, softplus, tanh
from .flags import compiled, inlined
from .vector import sqrt

TANH, SIGMOID, RELU = NATIVE["tanh"], NATIVE["sigmoid"], NATIVE["relu"]
HARD_SIGMOID, HARD_SIGMOID_KERAS3 = NATIVE["hard_sigmoid"], NATIVE["hard_sigmoid_keras3"]
ELU, SELU, SOFTPLUS, SOFTSIGN, EXPONENTIAL = (NATIVE[name] for name in ("elu", "selu", "softplus", "softsign", "exponential"))
SILU, GELU, GELU_TANH, RELU6, MISH = (NATIVE[name] for name in ("silu", "gelu", "gelu_tanh", "relu6", "mish"))
LEAKY_RELU, CELU, THRESHOLDED_RELU = (NATIVE[name] for name in ("leaky_relu", "celu", "thresholded_relu"))
HARD_SILU, HARD_TANH, LOG_SIGMOID, TANH_SHRINK = (NATIVE[name] for name in ("hard_silu", "hard_tanh", "log_sigmoid", "tanh_shrink"))
SOFT_SHRINK, HARD_SHRINK, SQUAREPLUS, SPARSE_PLUS = (NATIVE[name] for name in ("soft_shrink", "hard_shrink", "squareplus", "sparse_plus"))
SPARSE_SIGMOID = NATIVE["sparse_sigmoid"]


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


@inlined
def _tanh_shrink(x: Any) -> Any:
    # Near 0 the difference is a small part of either number: a polynomial in x * x, fitted.
    z = x * x
    p = fma(0.00041775775025598705, z, -0.0025015261489897966)
    p = fma(p, z, 0.008208703249692917)
    p = fma(p, z, -0.021654704585671425)
    p = fma(p, z, 0.053933486342430115)
    p = fma(p, z, -0.13333116471767426)
    p = fma(p, z, 0.3333333134651184)
    return select(z < 1.0, p * z * x, x - tanh(x))


@inlined
def _squareplus(x: Any) -> Any:
    # Below 0, where the sum cancels, by the difference. It is NaN at minus infinity, as in Keras.
    root = sqrt(fma(x, x, 4.0))
    return select(x < 0.0, 2.0 / (root - x) + (x - x), (x + root) * 0.5)


@compiled
def _activated_otherwise(code: int, x: Any, alpha: float) -> Any:
    """Those that hardly anybody uses."""
    if code == HARD_SILU:
        return x * hard_sigmoid_keras3(x)
    if code == HARD_TANH:
        return at_least(at_most(x, 1.0), -1.0)
    if code == CELU:
        return at_least(x, 0.0) + expm1(at_most(x, 0.0) / alpha) * alpha
    if code == LOG_SIGMOID:
        return -softplus(-x)
    if code == TANH_SHRINK:
        return _tanh_shrink(x)
    if code == SOFT_SHRINK:
        return select(x > 0.5, x - 0.5, select(x < -0.5, x + 0.5, 0.0))
    if code == HARD_SHRINK:
        return select(magnitude(x) > 0.5, x, 0.0)
    if code == SQUAREPLUS:
        return _squareplus(x)
    if code == SPARSE_PLUS:
        return select(x <= -1.0, 0.0, select(x < 1.0, (x + 1.0) * (x + 1.0) * 0.25, x))
    if code == SPARSE_SIGMOID:
        return at_least(at_most((x + 1.0) * 0.5, 1.0), 0.0)
    if code == THRESHOLDED_RELU:
        return x * select(x > alpha, 1.0, 0.0)
    return x


@compiled
def activated(code: int, x: Any, alpha: float) -> Any:
    """The activation of that code. ``alpha`` is the parameter of those that have one; the others leave it alone."""
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
    return _activated_otherwise(code, x, alpha)


@inlined
def default_alpha(code: int) -> Any:
    """The parameter that an activation takes where none is given, as in Keras."""
    return np.float32(0.2) if code == LEAKY_RELU else np.float32(1.0)
