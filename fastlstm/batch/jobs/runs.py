"""Rows that are timesteps, in batches that hold all steps of each of their keys: the steps of a key stand together in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import lazy
from ...errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa, pc = map(lazy.module, ("pyarrow", "pyarrow.compute"))


class Seen:
    """Which keys there were: eight bytes each, in sorted arrays of which each is more than twice as long as the next."""

    def __init__(self) -> None:
        self._levels: list[np.ndarray] = []

    def add(self, marks: np.ndarray) -> int | None:
        """Take keys; gives the place of the first that there was before, or that is there twice."""
        order = np.argsort(marks, kind="stable")
        there = marks[order]
        known = np.zeros(len(marks), bool)
        known[1:] = there[1:] == there[:-1]
        for level in self._levels:
            places = np.minimum(np.searchsorted(level, there), len(level) - 1)
            known |= level[places] == there
        if known.any():
            return int(order[known].min())
        self._levels.append(there)
        while len(self._levels) > 1 and len(self._levels[-2]) <= 2 * len(self._levels[-1]):
            last = self._levels.pop()
            self._levels[-1] = np.sort(np.concatenate([self._levels[-1], last]))
        return None


def whole(batches: Iterable[pa.RecordBatch], key: Sequence[str], name: str, start: int = 0) -> Iterator[pa.RecordBatch]:
    """The same rows, in batches that end where a key does.

    Parameters
    ----------
    batches
        Rows in the file's order.
    key
        The columns whose values tell sequences apart.
    name
        Of the file, for messages.
    start
        Number of the first row.

    Raises
    ------
    InputError
        If a key comes again after another.
    """
    seen, waiting, given, row = Seen(), [], False, start
    last: Any = None
    empty = None
    for batch in batches:
        if not batch.num_rows:
            empty = batch
            continue
        starts, values = _runs(batch, key)
        new = starts if values[0] != last else starts[1:]
        again = seen.add(_marks(values if values[0] != last else values[1:])) if len(new) else None
        if again is not None:
            told = ", ".join(f"{column}={value!r}" for column, value in zip(key, values[len(values) - len(new) + again], strict=True))
            raise InputError(
                f"{name}: expected the steps of a key to stand together, found {told:.200} again in row {row + int(new[again]):,}, after "
                "others; sort the file by its key"
            )
        if len(new):
            end = int(starts[-1])
            complete = [*waiting, *([batch.slice(0, end)] if end else [])]
            if complete:
                given = True
                yield _joined(complete)
            waiting = [batch.slice(end)]
        else:
            waiting.append(batch)
        last, row = values[-1], row + batch.num_rows
    if waiting:
        yield _joined(waiting)
    elif not given and empty is not None:
        yield empty


def _runs(batch: pa.RecordBatch, key: Sequence[str]) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """Where the runs of a batch begin, and their keys."""
    begins = np.zeros(batch.num_rows, bool)
    begins[0] = True
    columns = []
    for name in key:
        column = batch.column(name)
        columns.append(column.dictionary_decode() if pa.types.is_dictionary(column.type) else column)
        begins[1:] |= _differ(columns[-1])
    starts = np.flatnonzero(begins)
    chosen = [column.take(pa.array(starts)).to_pylist() for column in columns]
    return starts, list(zip(*chosen, strict=True))


def _differ(column: pa.Array) -> np.ndarray:
    """Which rows but the first have another value than the one before."""
    other = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1))
    if other.null_count:
        null = column.is_null()
        both = pc.not_equal(null.slice(1), null.slice(0, len(null) - 1))
        other = pc.coalesce(other, both)
    found: np.ndarray = other.to_numpy(zero_copy_only=False)
    return found.astype(bool)


def _marks(keys: Sequence[tuple[Any, ...]]) -> np.ndarray:
    """Eight bytes for each key; text stands between, as Python has the same for -1 and -2."""
    return np.fromiter((hash(repr(one)) for one in keys), np.int64, len(keys))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
