"""Sequences of different lengths, computed without padding that anybody sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..model import Model
from ..pipeline import Pipeline
from . import answers
from .values import Values, offsets_of


def computed(model: Model[Any] | Pipeline, given: Sequence[Values], found: Sequence[answers.Output]) -> list[Values]:
    """The outputs of rows, of which at least one input has lengths of its own: those of the same lengths are computed together.

    Parameters
    ----------
    model
        What computes.
    given
        Of each input.
    found
        What it gives.
    """
    rows = given[0].rows
    parts: list[list[np.ndarray]] = [[] for _ in found]
    places = []
    for members in groups([values.lengths for values in given if values.offsets is not None]):
        x = [dense(values, members) for values in given]
        y = answers.returned(model, model.predict(x[0] if len(x) == 1 else x))
        for part, one, output in zip(parts, y, found, strict=True):
            part.append(answers.column(one, output))
        places.append(members)
    order = np.concatenate(places)
    return [together(part, order, rows, output) for part, output in zip(parts, found, strict=True)]


def groups(lengths: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Numbers of rows that have all the same lengths."""
    order = np.lexsort(lengths)
    stacked = np.stack(lengths, axis=1)[order]
    borders = np.flatnonzero((stacked[1:] != stacked[:-1]).any(axis=1)) + 1
    yield from np.split(order, borders)


def dense(values: Values, members: np.ndarray) -> np.ndarray:
    """Some rows, which are as long as each other."""
    if values.offsets is None:
        return values.array[members]
    first = values.offsets[members]
    length = int(values.offsets[members[0] + 1] - first[0])
    return values.array[first[:, np.newaxis] + np.arange(length)]


def together(parts: Sequence[np.ndarray], order: np.ndarray, rows: int, output: answers.Output) -> Values:
    """Groups of rows, each of one shape, in the order of rows."""
    back = np.empty(rows, np.int64)
    back[order] = np.arange(rows)
    if len({part.shape[1:] for part in parts}) == 1:
        return Values(np.concatenate(parts)[back])
    lengths = np.concatenate([np.full(len(part), part.shape[1]) for part in parts])
    begins = offsets_of(lengths)[:-1]
    steps = np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])
    offsets = offsets_of(lengths[back])
    places = np.repeat(begins[back] - offsets[:-1], lengths[back]) + np.arange(len(steps))
    return Values(steps[places], offsets)
