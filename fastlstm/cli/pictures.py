"""Which picture suits a model's predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..drawing import curves
from ..errors import InputError


def drawn(predicted: Any, actual: Any, title: str, told: str) -> str:
    """Predictions of one output beside its targets: a confusion matrix where the targets are classes, else numbers over time.

    Parameters
    ----------
    predicted, actual
        Arrays with a row for each example.
    title, told
        What stands above, and what was measured.
    """
    if isinstance(predicted, list) or isinstance(actual, list):
        raise InputError("--plot: expected an array, as sequences of different lengths make no line; found a list of them")
    p, y = np.asarray(predicted, np.float64), np.asarray(actual, np.float64)
    classes = as_classes(p, y)
    if classes is not None:
        count = max(2, p.shape[-1])
        if count > curves.MOST_CLASSES:
            raise InputError(f"--plot: expected up to {curves.MOST_CLASSES} classes, found {count}")
        counts = np.zeros((count, count), np.int64)
        np.add.at(counts, classes, 1)
        return curves.confusion(title, told, counts)
    if p.ndim == 3:  # the first row, over its timesteps
        p, y, told = p[0], y.reshape(p.shape)[0], f"{told}; the first row"
    elif p.ndim > 3:
        raise InputError(f"--plot: expected predictions of up to 3 axes, found shape {p.shape}")
    p, y = p.reshape(len(p), -1), y.reshape(len(p), -1)
    if p.shape[1] > 1:
        told = f"{told}; the first of {p.shape[1]} numbers"
    return curves.forecast(title, told, y[:, 0], p[:, 0])


def as_classes(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The classes that are meant, and those that are predicted; None where the targets are no classes."""
    features = p.shape[-1]
    if features == 1:
        yes = y.reshape(-1)
        both = np.all((yes == 0) | (yes == 1)) and np.all((p >= 0) & (p <= 1)) and len(yes) == p.size
        return (yes.astype(np.int64), (p.reshape(-1) > 0.5).astype(np.int64)) if both else None
    said = np.argmax(p, axis=-1).reshape(-1)
    if y.shape == p.shape:
        one_hot = np.all((y == 0) | (y == 1)) and np.all(y.sum(axis=-1) == 1)
        return (np.argmax(y, axis=-1).reshape(-1), said) if one_hot else None
    numbers = y.reshape(-1)
    if len(numbers) == len(said) and np.all((numbers >= 0) & (numbers < features) & (numbers == np.trunc(numbers))):
        return numbers.astype(np.int64), said
    return None
