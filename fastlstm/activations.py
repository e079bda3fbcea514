"""Every activation once: its canonical form and its meaning in NumPy.

A canonical activation is a name (``"tanh"``), or, where it has parameters other than the defaults, a dict of the name and
the parameters (``{"name": "leaky_relu", "negative_slope": 0.3}``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

#: The kernels' codes of the activations that they compute, each number by itself; of those with a parameter, any.
NATIVE: dict[str, int] = {
    "linear": 0,
    "tanh": 1,
    "sigmoid": 2,
    "relu": 3,
    "hard_sigmoid": 4,
    "hard_sigmoid_keras3": 5,
    "elu": 6,
    "selu": 7,
    "softplus": 8,
    "softsign": 9,
    "exponential": 10,
    "silu": 11,
    "gelu": 12,
    "gelu_tanh": 13,
    "relu6": 14,
    "mish": 15,
    "leaky_relu": 16,
    "hard_silu": 17,
    "hard_tanh": 18,
    "celu": 19,
    "log_sigmoid": 20,
    "tanh_shrink": 21,
    "soft_shrink": 22,
    "hard_shrink": 23,
    "squareplus": 24,
    "sparse_plus": 25,
    "sparse_sigmoid": 26,
    "thresholded_relu": 27,
}

#: Codes of those that need all units of a row at once: recurrent kernels take them too, and compute whole rows then.
ALONG_UNITS: dict[str, int] = {"softmax": 64, "log_softmax": 65}

Function = Callable[[np.ndarray], np.ndarray]

_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x: np.ndarray) -> np.ndarray:
    """Error function, accurate to the last bits of float64 and rounded to the dtype of ``x``."""
    return np.asarray(_erf(np.asarray(x, np.float64))).astype(np.float64).astype(x.dtype)


def linear(x: np.ndarray) -> np.ndarray:
    return x


def tanh(x: np.ndarray) -> np.ndarray:
    return np.tanh(x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    # exp of a number that is never positive: no overflow, and small results keep their relative accuracy.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, x.dtype.type(1), e) / (1 + e)


def relu(x: np.ndarray, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0) -> np.ndarray:
    if negative_slope == 0.0 and threshold == 0.0:
        y = np.maximum(x, 0)
        return y if max_value is None else np.minimum(y, x.dtype.type(max_value))
    y = np.where(x > threshold, x, x * 0) if threshold != 0 else np.maximum(x, 0)
    if max_value is not None:
        y = np.clip(y, 0, x.dtype.type(max_value))
    if negative_slope != 0.0:
        y = y - x.dtype.type(negative_slope) * np.maximum(threshold - x, 0)
    return y


def relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 6)


def leaky_relu(x: np.ndarray, negative_slope: float = 0.2) -> np.ndarray:
    return np.where(x >= 0, x, x * x.dtype.type(negative_slope))


def thresholded_relu(x: np.ndarray, theta: float = 1.0) -> np.ndarray:
    return x * (x > theta).astype(x.dtype)


def hard_sigmoid(x: np.ndarray) -> np.ndarray:
    """hard_sigmoid of Keras up to 2 and of tf.keras: clip(0.2 x + 0.5, 0, 1)."""
    return np.clip(x.dtype.type(0.2) * x + x.dtype.type(0.5), 0, 1)


def hard_sigmoid_keras3(x: np.ndarray) -> np.ndarray:
    """hard_sigmoid of Keras 3: clip(x / 6 + 0.5, 0, 1)."""
    return np.clip(x + 3, 0, 6) / 6


def hard_silu(x: np.ndarray) -> np.ndarray:
    return x * hard_sigmoid_keras3(x)


def hard_tanh(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -1, 1)


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


def celu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.maximum(x, 0) + x.dtype.type(alpha) * np.expm1(np.minimum(x, 0) / x.dtype.type(alpha))


def selu(x: np.ndarray) -> np.ndarray:
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return x.dtype.type(scale) * elu(x, alpha)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softsign(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.abs(x))


def exponential(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(x)


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def gelu(x: np.ndarray) -> np.ndarray:
    return x.dtype.type(0.5) * x * (1 + erf(x * x.dtype.type(math.sqrt(0.5))))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    inner = x.dtype.type(math.sqrt(2 / math.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
    return x.dtype.type(0.5) * x * (1 + np.tanh(inner))


def mish(x: np.ndarray) -> np.ndarray:
    return x * np.tanh(softplus(x))


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -softplus(-x)


def tanh_shrink(x: np.ndarray) -> np.ndarray:
    return x - np.tanh(x)


def soft_shrink(x: np.ndarray) -> np.ndarray:
    half = x.dtype.type(0.5)
    return np.where(x > half, x - half, np.where(x < -half, x + half, x.dtype.type(0)))


def hard_shrink(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) > 0.5, x, x.dtype.type(0))


def squareplus(x: np.ndarray) -> np.ndarray:
    return (x + np.sqrt(x * x + 4)) / 2


def sparse_plus(x: np.ndarray) -> np.ndarray:
    return np.where(x <= -1, x.dtype.type(0), np.where(x < 1, (x + 1) ** 2 / 4, x))


def sparse_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip((x + 1) / 2, 0, 1)


def softmax(x: np.ndarray, axis: int | tuple[int, ...] = -1) -> np.ndarray:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def sparsemax(x: np.ndarray) -> np.ndarray:
    """After Martins and Astudillo 2016, but as Keras computes it.

    Its threshold takes the sum of all cumulative sums in the support where the paper takes the last one, so that the
    result is no projection on the simplex as soon as the support has two members.
    """
    ordered = -np.sort(-x, axis=-1)
    sums = np.cumsum(ordered, axis=-1)
    rank = np.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    support = ordered - (sums - 1) / rank > 0
    total = np.sum(np.where(support, sums, x.dtype.type(0)), axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.maximum(x - (total - 1) / np.sum(support, axis=-1, keepdims=True).astype(x.dtype), 0)


def glu(x: np.ndarray) -> np.ndarray:
    half = x.shape[-1] // 2
    return x[..., :half] * sigmoid(x[..., half:])


_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    f.__name__: f
    for f in (
        linear, tanh, sigmoid, relu, relu6, leaky_relu, thresholded_relu, hard_sigmoid, hard_sigmoid_keras3, hard_silu, hard_tanh,
        elu, celu, selu, softplus, softsign, exponential, silu, gelu, gelu_tanh, mish, log_sigmoid, tanh_shrink, soft_shrink,
        hard_shrink, squareplus, sparse_plus, sparse_sigmoid, softmax, log_softmax, sparsemax, glu,
    )
}  # fmt: skip

_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "softmax_v2": "softmax", "log_softmax_v2": "log_softmax",
            "exp": "exponential"}  # fmt: skip

#: The parameters of each function that has any, with the values that it computes with when they are not given.
DEFAULTS: dict[str, dict[str, Any]] = {
    name: parameters
    for name, f in _FUNCTIONS.items()
    if (parameters := {one.name: one.default for one in signature(f).parameters.values() if one.default is not one.empty})
}


class LayerActivation(NamedTuple):
    """A layer that Keras takes as an activation too."""

    name: str  # canonical
    changed: Mapping[str, Any] = {}  # the parameters whose defaults are others than the function's
    renamed: Mapping[str, str] = {}  # older names of its parameters

    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters, with their values when they are not given."""
        return {**DEFAULTS[self.name], **self.changed}


#: By class. The catalogue, which stands above, has what it says of them from here.
LAYERS: dict[str, LayerActivation] = {
    "LeakyReLU": LayerActivation("leaky_relu", {"negative_slope": 0.3}, {"alpha": "negative_slope"}),
    "ReLU": LayerActivation("relu"),
    "ELU": LayerActivation("elu"),
    "ThresholdedReLU": LayerActivation("thresholded_relu"),
    "Softmax": LayerActivation("softmax"),
}


def _number(value: Any, default: Any) -> Any:
    """A parameter as JSON has it; tf.keras writes NumPy numbers as ``{"class_name": "__numpy__", "value": ...}`` and the like."""
    if isinstance(value, Mapping):
        value = value.get("value", value.get("config", default))
    if isinstance(value, list | tuple):
        return tuple(int(v) for v in value)
    return value


def _canonical_layer(class_name: str, config: Mapping[str, Any]) -> str | dict[str, Any]:
    layer = LAYERS[class_name]
    given = {**{new: config[old] for old, new in layer.renamed.items() if old in config}, **config}
    found = {key: _number(given[key], default) if key in given else default for key, default in layer.parameters.items()}
    return layer.name if found == DEFAULTS[layer.name] else {"name": layer.name, **found}


def canonical(value: Any, keras3: bool) -> str | dict[str, Any]:
    """Canonical form of an activation as a config holds it.

    Parameters
    ----------
    value
        A name, None, a serialised function or layer of any Keras generation, or an already canonical form.
    keras3
        Whether Keras 3 wrote it: its ``hard_sigmoid`` is another function.

    Raises
    ------
    ValueError
        If it is none that Keras has.
    """
    if value is None:
        return "linear"
    if isinstance(value, str):
        name = value.rsplit(">", 1)[-1]  # "keras.activations>relu", as registered names are written
        if name in LAYERS:
            return _canonical_layer(name, {})
        name = _ALIASES.get(name, name)
        if name == "hard_sigmoid" and keras3:
            return "hard_sigmoid_keras3"
        if name in _FUNCTIONS:
            return name
        raise ValueError(f"activation {value!r} is not known")
    if isinstance(value, Mapping):
        if "name" in value and "class_name" not in value and value["name"] in _FUNCTIONS:
            return dict(value)
        class_name, config = value.get("class_name"), value.get("config")
        if class_name in ("function", "builtin_function_or_method") and isinstance(config, str):
            return canonical(config, keras3)
        if class_name in LAYERS and isinstance(config, Mapping):
            return _canonical_layer(class_name, config)
        if class_name == "Activation" and isinstance(config, Mapping):
            return canonical(config.get("activation"), keras3)
        if isinstance(class_name, str) and not config:
            return canonical(class_name, keras3)
    raise ValueError(f"activation {value!r} is not known")


def name_of(activation: str | Mapping[str, Any]) -> str:
    """Name of a canonical activation, without its parameters."""
    return activation if isinstance(activation, str) else str(activation["name"])


def output_features(activation: str | Mapping[str, Any], features: int) -> int:
    """Size of the last axis after the activation."""
    return features // 2 if name_of(activation) == "glu" else features


def function(activation: str | Mapping[str, Any]) -> Function:
    """NumPy meaning of a canonical activation, in the float dtype of its argument.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    name = name_of(activation)
    if name not in _FUNCTIONS:
        raise ValueError(f"activation {name!r} is not known")
    f = _FUNCTIONS[name]
    if isinstance(activation, str):
        return f
    parameters = {key: _number(value, None) for key, value in activation.items() if key != "name"}
    return lambda x: f(x, **parameters)
