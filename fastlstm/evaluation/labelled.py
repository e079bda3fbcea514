"""Targets that are labels of classes, as a pipeline has them: what a loss is given in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import TensorInfo, as_array
from ..spec import Shape
from ..surroundings import differ
from .naming import Loss

Label = str | int | float | bool
#: Labels in a message, and characters of one.
MOST_SHOWN, LONGEST = 10, 60


def targets(y: Any, labels: Sequence[Label], output: TensorInfo, loss: Loss | None) -> Any:
    """Labels, or the numbers of their classes, as a loss takes them; other targets as they are.

    Parameters
    ----------
    y
        As for ``Pipeline.evaluate``.
    labels
        The names of the classes, in order.
    output
        Of the network.
    loss
        Of that output.

    Raises
    ------
    InputError
        If there are texts or whole numbers among them that name no class.
    """
    numbers, size = class_numbers(y, labels, output), output.shape[-1]
    if numbers is None:
        return y
    if size == 1 or loss is None or loss.sparse:
        return numbers
    one_hot = np.eye(len(labels), dtype=np.float32)
    return [one_hot[row] for row in numbers] if isinstance(numbers, list) else one_hot[numbers]


def class_numbers(y: Any, labels: Sequence[Label], output: TensorInfo) -> Any:
    """The numbers of the classes that targets name, int64; of rows of different lengths a list of them.

    None where targets name none: they have an axis of a number for each class, or numbers that are no whole ones.
    """
    if not isinstance(y, (list, tuple)) or not differ(y):
        return numbers_of(as_array(y, "y", (None,)), labels, output.shape)
    rows = [as_array(row, f"y[{number}]", (None,)) for number, row in enumerate(y)]
    if any(row.shape[1:] != rows[0].shape[1:] for row in rows):
        return None
    found = numbers_of(np.concatenate(rows), labels, output.shape[1:])  # one text or label decides what all of them are
    return None if found is None else np.split(found, np.cumsum([len(row) for row in rows])[:-1])


def numbers_of(y: np.ndarray, labels: Sequence[Label], shape: Shape) -> np.ndarray | None:
    """The same of one array, for outputs of a shape; without an axis of a single label."""
    if y.ndim == len(shape) and y.shape[-1] == 1:
        y = y[..., 0]
    texts = as_texts(y)
    if texts is not None:
        return by_text({str(label): number for number, label in enumerate(labels)}, texts)
    if y.dtype.kind not in "biuf" or (y.ndim == len(shape) and y.shape[-1] == shape[-1]):
        return None
    known = {float(label): number for number, label in enumerate(labels) if not isinstance(label, str)}
    found = y.ravel().tolist()
    if known and known.keys() >= set(found):
        return np.array([known[label] for label in found], np.int64).reshape(y.shape)
    if not np.all(y == np.floor(y)):
        return None
    strange = next((value for value in found if not 0 <= value < len(labels)), None)
    if strange is not None:
        raise InputError(f"y: expected {told(list(map(str, labels)))} or numbers of classes, 0 to {len(labels) - 1}, found {strange:g}")
    return y.astype(np.int64)


def as_texts(y: np.ndarray) -> np.ndarray | None:
    """Labels that are texts, bytes or objects as texts; None where they are numbers."""
    if y.dtype.kind == "O":
        texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in y.ravel().tolist()]
        return np.array(texts, np.str_).reshape(y.shape)
    if y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "replace")
    return np.asarray(y, np.str_) if y.dtype.kind in "UT" else None


def by_text(known: Mapping[str, int], found: np.ndarray) -> np.ndarray:
    """The numbers of labels; texts of numbers that are no labels are those numbers."""
    texts = found.ravel().tolist()
    strange = next((text for text in texts if text not in known), None)
    if strange is None:
        numbers = [known[text] for text in texts]
    elif all(text.strip().isdecimal() and int(text) < len(known) for text in texts):
        numbers = [int(text) for text in texts]
    else:
        raise InputError(f"y: expected {told(list(known))}, found {strange[:LONGEST]!r}")
    return np.array(numbers, np.int64).reshape(found.shape)


def told(labels: Sequence[str]) -> str:
    """Labels, for a message."""
    return f"labels ({', '.join(label[:LONGEST] for label in labels[:MOST_SHOWN])}{', ...' if len(labels) > MOST_SHOWN else ''})"
