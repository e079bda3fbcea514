"""The values of a column as arrays, without an object for each row: what tables give, and what they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..spec import Shape

#: Numbers that are interleaved at a time.
NUMBERS = 1 << 15
#: A number that stands in the place of each null; None: none does.
Fill = float | None


class Values(NamedTuple):
    """A column: rows of one shape, or of different lengths one after another.

    Attributes
    ----------
    array : numpy.ndarray
        (rows, ...); with ``offsets`` (steps, ...).
    offsets : numpy.ndarray or None
        (rows + 1,), int64: row n is ``array[offsets[n] : offsets[n + 1]]``.
    missing : numpy.ndarray or None
        (rows,), bool: which rows are null or hold a null, and mean nothing; None where none does.
    """

    array: np.ndarray
    offsets: np.ndarray | None = None
    missing: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.array) if self.offsets is None else len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Of each row of a column of different lengths."""
        assert self.offsets is not None
        return np.diff(self.offsets)

    def where(self, kept: np.ndarray) -> Values:
        """The rows for which ``kept``, bool (rows,), is true."""
        if self.offsets is None:
            return Values(self.array[kept])
        lengths = self.lengths
        return Values(self.array[np.repeat(kept, lengths)], offsets_of(lengths[kept]))

    def even(self) -> Values:
        """Rows that have all the same length as an array (rows, length, ...), without a copy; others as they are.

        Rows that are missing may have other lengths: zeros stand in their places.
        """
        if self.offsets is None:
            return self
        lengths, missing = self.lengths, self.missing
        if missing is not None and missing.any() and not missing.all():
            present = ~missing
            some = self.where(present).even()
            return self if some.offsets is not None else spread(some, present)
        if not len(lengths) or (lengths != lengths[0]).any():
            return self
        return Values(self.array.reshape(len(lengths), lengths[0], *self.array.shape[1:]), None, missing)


class Answer(NamedTuple):
    """A column that is added to a table.

    Attributes
    ----------
    name : str
        Of the column.
    values : Values
        Rows that are missing hold zeros.
    shape : tuple
        As the model says it: rows first, None where an axis is open.
    """

    name: str
    values: Values
    shape: Shape


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin, and where the last ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def united(masks: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Rows that are missing in one of several columns; None where none is."""
    found = [mask for mask in masks if mask is not None and mask.any()]
    return np.logical_or.reduce(found) if found else None


def spread(values: Values, kept: np.ndarray) -> Values:
    """Rows back in their places among others, which are missing."""
    missing = ~kept
    if values.offsets is None:
        array = np.zeros((len(kept), *values.array.shape[1:]), values.array.dtype)
        array[kept] = values.array
        return Values(array, None, missing)
    lengths = np.zeros(len(kept), np.int64)
    lengths[kept] = values.lengths
    return Values(values.array, offsets_of(lengths), missing)


def filled(array: np.ndarray, missing: np.ndarray, fill: float) -> np.ndarray:
    """A copy with a number in the place of what is missing, of a dtype that holds both."""
    array = array.astype(array.dtype if holds(array.dtype, fill) else np.float64)
    array[missing] = fill
    return array


def holds(dtype: np.dtype, fill: float) -> bool:
    """Is there such a number in a dtype?"""
    if dtype.kind == "b":
        return fill in (0, 1)
    if dtype.kind in "iu":
        return float(fill).is_integer() and np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max
    return True


def flat(array: np.ndarray) -> np.ndarray:
    """(rows, ...) as (rows, numbers), of no rows too."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def beside(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays (rows, some) side by side: a few thousand numbers at a time, which stay in the cache while their rows are interleaved."""
    widths = [array.shape[1] for array in arrays]
    made = np.empty((len(arrays[0]), sum(widths)), np.result_type(*{array.dtype for array in arrays}))
    step = max(1, NUMBERS // max(sum(widths), 1))
    for first in range(0, len(made), step):
        np.concatenate([array[first : first + step] for array in arrays], axis=1, out=made[first : first + step])
    return made
