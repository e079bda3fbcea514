"""Labels of classes: lists, and scikit-learn's encoders by their public attributes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from .arguments import LABELS_LINE, json_of, reading, refuse_word, told

Label = str | int | float | bool
FORMS = (
    "a list of labels in the order of the classes, a fitted LabelEncoder, LabelBinarizer or OneHotEncoder (of one column), "
    "a dict of numbers and labels, or a path to a JSON file of these"
)


def labels_of(given: Any, name: str = "labels") -> tuple[Label, ...]:
    """The labels of classes, in the order of their numbers.

    Raises
    ------
    InputError
        If they are none, or two are the same.
    """
    with reading(name, FORMS):
        labels = tuple(plain(label, name) for label in listed(given, name))
    if len(set(labels)) < len(labels) or not labels:
        raise InputError(f"{name}: expected labels that differ, found {told(list(labels))}")
    return labels


def listed(given: Any, name: str) -> list[Any]:
    """The labels in a list, however they are given."""
    if isinstance(given, (str, bytes, os.PathLike)):
        refuse_word(given, name, FORMS)
        given = json_of(given, name, LABELS_LINE)
    if isinstance(given, Mapping):
        return by_number(given, name)
    if isinstance(given, (list, tuple, np.ndarray)):
        return list(given)
    classes, categories = getattr(given, "classes_", None), getattr(given, "categories_", None)
    if classes is not None:
        return list(classes)
    if isinstance(categories, list) and len(categories) == 1:
        return list(categories[0])
    unfitted = callable(getattr(given, "fit", None)) and categories is None
    found = f"{type(given).__name__}, which was not fitted: call its fit first" if unfitted else told(given)
    raise InputError(f"{name}: expected {FORMS}; found {found}")


def by_number(given: Mapping[Any, Any], name: str) -> list[Any]:
    """The labels in a dict: of each number, or with the number of each."""
    count = set(range(len(given)))
    if set(given) == count:
        return [given[number] for number in range(len(given))]
    if set(given) == set(map(str, count)):  # as JSON has numbers
        return [given[str(number)] for number in range(len(given))]
    if set(given.values()) == count:
        return sorted(given, key=lambda label: given[label])
    raise InputError(f"{name}: expected a dict with the numbers 0 to {len(given) - 1}, found {told(dict(given))}")


def plain(label: Any, name: str) -> Label:
    """A label that JSON holds."""
    found = label.item() if isinstance(label, np.generic) else label
    if not isinstance(found, (str, int, float, bool)) or (isinstance(found, float) and not math.isfinite(found)):
        raise InputError(f"{name}: expected texts or numbers, found {told(label)}")
    return found


def as_array(labels: tuple[Label, ...]) -> np.ndarray:
    """Labels as an array, of the dtype that suits all: numbers and texts together are objects."""
    kinds = {type(label) for label in labels}
    return np.array(labels, object) if str in kinds and len(kinds) > 1 else np.array(labels)
