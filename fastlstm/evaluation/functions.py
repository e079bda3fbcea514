"""Losses and metrics of a prediction, each as Keras defines it: of arrays (..., features) numbers of shape (...).

They are computed in float64 of float32 numbers. What Keras keeps away from 0 and 1 before a logarithm it keeps away in float32, and so
does this: there one rounding of 1 - p is a hundredth of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..records import record

Function = Callable[..., np.ndarray]
#: Keras's epsilon, and the largest probability, in float32.
EPSILON = float(np.float32(1e-7))
NEARLY_ONE = float(np.float32(1) - np.float32(1e-7))
#: 1 + epsilon, in float32.
OVER_ONE = float(np.float32(1) + np.float32(1e-7))


@record(frozen=True)
class Flavour:
    """What functions of one name differ in between generations."""

    hinge_labels: bool = True  # hinge takes labels 0 and 1 for -1 and 1
    cosine_metric: float = 1.0  # the sign of the cosine as a metric; as a loss it is negative
    rounds: bool = False  # binary_accuracy rounds predictions, whatever the threshold
    # The binary crossentropy of probabilities takes the logarithms of p and 1 - p; of p + epsilon and (1 - p) + epsilon; or of
    # p + epsilon and (1 + epsilon) - p, which TensorFlow's optimiser makes of that and which is another number in float32.
    logarithms: Literal["plain", "sum", "folded"] = "plain"


def mean_squared_error(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The mean of squares."""
    return np.mean((p - y) ** 2, axis=-1)


def mean_absolute_error(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The mean of absolute differences."""
    return np.mean(np.abs(p - y), axis=-1)


def mean_absolute_percentage_error(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """In percent of what was to be predicted."""
    return 100.0 * np.mean(np.abs((y - p) / np.maximum(np.abs(y), EPSILON)), axis=-1)


def mean_squared_logarithmic_error(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Of log(1 + x)."""
    return np.mean((np.log1p(np.maximum(p, EPSILON)) - np.log1p(np.maximum(y, EPSILON))) ** 2, axis=-1)


def huber(y: np.ndarray, p: np.ndarray, delta: float = 1.0) -> np.ndarray:
    """Squares up to delta, then straight on."""
    error = np.abs(p - y)
    return np.mean(np.where(error <= delta, 0.5 * error**2, delta * error - 0.5 * delta**2), axis=-1)


def log_cosh(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """log(cosh(p - y))."""
    x = p - y
    return np.mean(x + np.logaddexp(0.0, -2.0 * x) - np.log(2.0), axis=-1)


def _signs(y: np.ndarray, flavour: Flavour) -> np.ndarray:
    """Labels 0 and 1 as -1 and 1."""
    return 2.0 * y - 1.0 if flavour.hinge_labels and np.all((y == 0) | (y == 1)) else y


def hinge(y: np.ndarray, p: np.ndarray, flavour: Flavour) -> np.ndarray:
    """max(0, 1 - y p)."""
    return np.mean(np.maximum(1.0 - _signs(y, flavour) * p, 0.0), axis=-1)


def squared_hinge(y: np.ndarray, p: np.ndarray, flavour: Flavour) -> np.ndarray:
    """Its square."""
    return np.mean(np.maximum(1.0 - _signs(y, flavour) * p, 0.0) ** 2, axis=-1)


def categorical_hinge(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Of the class and the strongest of the others."""
    return np.maximum(np.max((1.0 - y) * p, axis=-1) - np.sum(y * p, axis=-1) + 1.0, 0.0)


def kl_divergence(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The Kullback-Leibler divergence."""
    y, p = np.clip(y, EPSILON, 1.0), np.clip(p, EPSILON, 1.0)
    return np.sum(y * np.log(y / p), axis=-1)


def poisson(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The negative logarithm of Poisson's likelihood."""
    return np.mean(p - y * np.log(p + EPSILON), axis=-1)


def cosine(y: np.ndarray, p: np.ndarray, axis: int = -1) -> np.ndarray:
    """The cosine of the angle between them."""

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt(np.maximum(np.sum(x**2, axis=axis, keepdims=True), 1e-12))

    return np.sum(unit(y) * unit(p), axis=axis)


def cosine_loss(y: np.ndarray, p: np.ndarray, axis: int = -1) -> np.ndarray:
    """Negative, as a loss is to become smaller."""
    return -cosine(y, p, axis)


def cosine_metric(y: np.ndarray, p: np.ndarray, flavour: Flavour, axis: int = -1) -> np.ndarray:
    """With the sign that the generation gives it."""
    return flavour.cosine_metric * cosine(y, p, axis)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Probabilities of logits."""
    z = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return z / np.sum(z, axis=axis, keepdims=True)


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    x = x - np.max(x, axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


def binary_elements(y: np.ndarray, p: np.ndarray, flavour: Flavour, from_logits: bool) -> np.ndarray:
    """The crossentropy of each element."""
    if from_logits:
        return np.maximum(p, 0.0) - p * y + np.log1p(np.exp(-np.abs(p)))
    p = np.clip(p, EPSILON, NEARLY_ONE)
    more, one = (0.0, 1.0) if flavour.logarithms == "plain" else (EPSILON, 1.0 + EPSILON)
    if flavour.logarithms == "folded":
        one = OVER_ONE
    return -(y * np.log(p + more) + (1.0 - y) * np.log(one - p))


def binary_crossentropy(
    y: np.ndarray, p: np.ndarray, flavour: Flavour, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> np.ndarray:
    """The mean crossentropy of yes and no."""
    y = y * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return np.mean(binary_elements(y, p, flavour, from_logits), axis=axis)


def binary_focal_crossentropy(
    y: np.ndarray, p: np.ndarray, flavour: Flavour, apply_class_balancing: bool = False, alpha: float = 0.25, gamma: float = 2.0,
    from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
) -> np.ndarray:  # fmt: skip
    """The same, less of what is certain."""
    y = y * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        p = 1.0 / (1.0 + np.exp(-p))
    found = (1.0 - (y * p + (1.0 - y) * (1.0 - p))) ** gamma * binary_elements(y, p, flavour, False)
    return np.mean((y * alpha + (1.0 - y) * (1.0 - alpha)) * found if apply_class_balancing else found, axis=axis)


def _logarithms(p: np.ndarray, from_logits: bool, axis: int) -> np.ndarray:
    """Of probabilities."""
    if from_logits:
        return _log_softmax(p, axis)
    return np.log(np.clip(p / np.sum(p, axis=axis, keepdims=True), EPSILON, NEARLY_ONE))


def _smoothed(y: np.ndarray, label_smoothing: float) -> np.ndarray:
    return y * (1.0 - label_smoothing) + label_smoothing / y.shape[-1] if label_smoothing else y


def categorical_crossentropy(
    y: np.ndarray, p: np.ndarray, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> np.ndarray:
    """The crossentropy of classes, one-hot."""
    return -np.sum(_smoothed(y, label_smoothing) * _logarithms(p, from_logits, axis), axis=axis)


def categorical_focal_crossentropy(
    y: np.ndarray, p: np.ndarray, alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0,
    axis: int = -1,
) -> np.ndarray:  # fmt: skip
    """The same, less of what is certain."""
    p = softmax(p, axis) if from_logits else p
    p = np.clip(p / np.sum(p, axis=axis, keepdims=True), EPSILON, NEARLY_ONE)
    return np.sum(alpha * (1.0 - p) ** gamma * -_smoothed(y, label_smoothing) * np.log(p), axis=axis)


def classes_of(y: np.ndarray, p: np.ndarray, axis: int = -1) -> np.ndarray:
    """Numbers of classes, of the shape of the predictions less the axis of classes."""
    if y.ndim == p.ndim and y.shape[axis] == 1:
        y = np.squeeze(y, axis)
    expected = np.delete(np.array(p.shape), axis).tolist()
    if list(y.shape) != expected:
        raise InputError(f"y: expected classes of shape {tuple(expected)}, one number for each prediction, found {y.shape}")
    return y


def sparse_categorical_crossentropy(
    y: np.ndarray, p: np.ndarray, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> np.ndarray:
    """The crossentropy of classes, by their numbers."""
    classes = classes_of(y, p, axis)
    there = np.ones(classes.shape, bool) if ignore_class is None else classes != ignore_class
    numbers = np.where(there, classes, 0).astype(np.int64)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= p.shape[axis]):
        raise InputError(f"y: expected classes from 0 to {p.shape[axis] - 1}, found {numbers.min()} to {numbers.max()}")
    logarithms = _log_softmax(p if from_logits else np.log(np.clip(p, EPSILON, NEARLY_ONE)), axis)
    found = -np.squeeze(np.take_along_axis(logarithms, np.expand_dims(numbers, axis), axis), axis)
    return np.where(there, found, 0.0)


def accuracy(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """How often they are equal."""
    return (y == p).astype(np.float64)


def binary_accuracy(y: np.ndarray, p: np.ndarray, flavour: Flavour, threshold: float = 0.5) -> np.ndarray:
    """Yes and no."""
    said = np.round(p) if flavour.rounds and threshold == 0.5 else (p > threshold).astype(p.dtype)
    return np.mean(y == said, axis=-1)


def categorical_accuracy(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Classes, one-hot."""
    return (np.argmax(y, axis=-1) == np.argmax(p, axis=-1)).astype(np.float64)


def sparse_categorical_accuracy(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Classes, by their numbers."""
    return (classes_of(y, p) == np.argmax(p, axis=-1)).astype(np.float64)


def _among(numbers: np.ndarray, p: np.ndarray, k: int) -> np.ndarray:
    """Are fewer than k others more likely?"""
    inside = (numbers >= 0) & (numbers < p.shape[-1])
    own = np.take_along_axis(p, np.where(inside, numbers, 0)[..., np.newaxis], -1)
    finite = np.isfinite(own[..., 0]) & inside
    return (finite & (np.sum(p > own, axis=-1) < k)).astype(np.float64)


def top_k_categorical_accuracy(y: np.ndarray, p: np.ndarray, k: int = 5) -> np.ndarray:
    """Is the class, one-hot, among the k most likely?"""
    return _among(np.argmax(y, axis=-1), p, k)


def sparse_top_k_categorical_accuracy(y: np.ndarray, p: np.ndarray, k: int = 5, from_sorted_ids: bool = False) -> np.ndarray:
    """The same by the number of the class."""
    classes = classes_of(y, p)
    if from_sorted_ids:
        return np.any(classes[..., np.newaxis] == p[..., :k], axis=-1).astype(np.float64)
    return _among(classes.astype(np.int64), p, k)


#: The functions that are losses, by Keras's name; metrics can be the same, and some more.
LOSSES: Mapping[str, Function] = {
    "mean_squared_error": mean_squared_error, "mean_absolute_error": mean_absolute_error,
    "mean_absolute_percentage_error": mean_absolute_percentage_error, "mean_squared_logarithmic_error": mean_squared_logarithmic_error,
    "huber": huber, "log_cosh": log_cosh, "hinge": hinge, "squared_hinge": squared_hinge, "categorical_hinge": categorical_hinge,
    "kl_divergence": kl_divergence, "poisson": poisson, "cosine_similarity": cosine_loss, "binary_crossentropy": binary_crossentropy,
    "binary_focal_crossentropy": binary_focal_crossentropy, "categorical_crossentropy": categorical_crossentropy,
    "categorical_focal_crossentropy": categorical_focal_crossentropy, "sparse_categorical_crossentropy": sparse_categorical_crossentropy,
}  # fmt: skip
METRICS: Mapping[str, Function] = {
    **LOSSES, "cosine_similarity": cosine_metric, "accuracy": accuracy, "binary_accuracy": binary_accuracy,
    "categorical_accuracy": categorical_accuracy, "sparse_categorical_accuracy": sparse_categorical_accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy, "sparse_top_k_categorical_accuracy": sparse_top_k_categorical_accuracy,
}  # fmt: skip
#: Functions that ask for the generation's flavour.
FLAVOURED = frozenset({hinge, squared_hinge, cosine_metric, binary_crossentropy, binary_focal_crossentropy, binary_accuracy})
#: Those whose targets are numbers of classes.
SPARSE = frozenset({sparse_categorical_crossentropy, sparse_categorical_accuracy, sparse_top_k_categorical_accuracy})


#: Those that go back to logits where there are any.
OF_LOGITS = frozenset({binary_crossentropy, categorical_crossentropy, sparse_categorical_crossentropy})


@record(frozen=True)
class OfLogits:
    """A crossentropy as a function of targets and logits."""

    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    binary: bool


def of_logits(function: Function, flavour: Flavour, options: Mapping[str, Any]) -> OfLogits | None:
    """A crossentropy of logits; None of what never goes back to them."""
    if function not in OF_LOGITS:
        return None
    return OfLogits(bound(function, flavour, {**options, "from_logits": True}), function is binary_crossentropy)


def bound(function: Function, flavour: Flavour, options: Mapping[str, Any]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of the two arrays alone."""
    given = {**options, "flavour": flavour} if function in FLAVOURED else dict(options)
    return lambda y, p: function(y, p, **given)
