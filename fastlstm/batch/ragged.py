"""Sequences of different lengths: each computed as long as it is, without an object for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..inputs import Ragged, TensorInfo, cast, per_step
from ..model import Model
from ..pipeline import Pipeline
from ..records import changed
from . import answers
from .values import Values, offsets_of

#: Numbers of a block of sequences with the padding that kernels skip: of sequences whose lengths are far apart it holds fewer.
BLOCK = 1 << 22
#: Leading bits of a padded length that may be others than zero.
SIGNIFICANT = 4


def computed(
    model: Model[Any] | Pipeline, infos: Sequence[TensorInfo], given: Sequence[Values], found: Sequence[answers.Output]
) -> list[Values]:
    """The outputs of rows, of which at least one input has lengths of its own.

    Parameters
    ----------
    model
        What computes.
    infos
        Its inputs.
    given
        What each input is.
    found
        What it gives.
    """
    if isinstance(model, Model) and len(given) == 1:
        outputs = _padded(model, infos[0], given[0])
        if outputs is not None:
            return [Values(answers.column(one.array, output), one.offsets) for one, output in zip(outputs, found, strict=True)]
    rows, places = given[0].rows, []
    parts: list[list[np.ndarray]] = [[] for _ in found]
    for members in alike([values.lengths for values in given if values.offsets is not None]):
        x = [dense(values, members) for values in given]
        y = answers.returned(model.predict(x[0] if len(x) == 1 else x))
        for part, one, output in zip(parts, y, found, strict=True):
            part.append(answers.column(one, output))
        places.append(members)
    order = np.concatenate(places)
    return [together(part, order, rows) for part in parts]


def _padded(model: Model[Any], info: TensorInfo, values: Values) -> list[Values] | None:
    """By kernels that skip padding, block by block; None where some layer does not allow it."""
    assert values.offsets is not None
    steps, lengths, executor = (
        cast(values.array[np.newaxis], changed(info, shape=(None, None, *info.shape[2:])))[0],
        values.lengths,
        model.executor,
    )
    parts: list[list[np.ndarray]] = [[] for _ in executor.outputs]
    for first, last in blocks(lengths, BLOCK // max(1, steps[:1].size)):
        some = lengths[first:last]
        present = np.arange(rounded(int(some.max()))) < some[:, np.newaxis]
        padded = np.zeros((*present.shape, *steps.shape[1:]), steps.dtype)
        padded[present] = steps[values.offsets[first] : values.offsets[last]]
        outputs = executor.run_padded(Ragged(padded, some))
        if outputs is None:
            return None
        for part, y, one in zip(parts, outputs, executor.outputs, strict=True):
            part.append(y[present] if per_step(one) else y)
    return [
        Values(np.concatenate(part), values.offsets if per_step(one) else None) for part, one in zip(parts, executor.outputs, strict=True)
    ]


def rounded(length: int) -> int:
    """A length that is up to an eighth longer, so that blocks have few different ones: a Program is planned for each."""
    step = 1 << max(length.bit_length() - SIGNIFICANT, 0)
    return -(-length // step) * step


def blocks(lengths: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """First and last rows, one after another, of so many at a time that rows times the longest is at most so much, or that it is one."""
    first = 0
    while first < len(lengths):
        some = np.maximum.accumulate(lengths[first : first + most])
        taken = int(np.searchsorted(some * np.arange(1, len(some) + 1), most, side="right"))
        yield first, first + max(taken, 1)
        first += max(taken, 1)


def alike(lengths: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Numbers of rows that have all the same lengths, of each of several inputs."""
    order = np.lexsort(lengths)
    stacked = np.stack(lengths, axis=1)[order]
    yield from np.split(order, np.flatnonzero((stacked[1:] != stacked[:-1]).any(axis=1)) + 1)


def dense(values: Values, members: np.ndarray) -> np.ndarray:
    """Some rows, which are as long as each other."""
    if values.offsets is None:
        return values.array[members]
    first = values.offsets[members]
    length = int(values.offsets[members[0] + 1] - first[0])
    return values.array[first[:, np.newaxis] + np.arange(length)]


def together(parts: Sequence[np.ndarray], order: np.ndarray, rows: int) -> Values:
    """Groups of rows, each of one shape, in the order of rows."""
    back = np.empty(rows, np.int64)
    back[order] = np.arange(rows)
    if len({part.shape[1:] for part in parts}) == 1:
        return Values(np.concatenate(parts)[back])
    lengths = np.concatenate([np.full(len(part), part.shape[1]) for part in parts])
    begins, offsets = offsets_of(lengths)[:-1], offsets_of(lengths[back])
    steps = np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])
    return Values(steps[np.repeat(begins[back] - offsets[:-1], lengths[back]) + np.arange(len(steps))], offsets)
