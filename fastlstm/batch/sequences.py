"""A row per timestep becomes sequences: rows of one key together, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..inputs import TensorInfo, shape_text, told
from . import hashing
from .binding import Bound, columns_text, fits, is_name, listed
from .table import Table
from .tables import table_of
from .values import Values, beside, flat, offsets_of

#: Keys in no order that are remembered.
MOST_KEYS = 1 << 23
#: What to do about rows of a key that are apart.
SORTED = "sort the rows first, such as by DuckDB's ORDER BY key, step"


class Groups(NamedTuple):
    """The steps of a table by their sequences, in the order in which the sequences begin.

    Attributes
    ----------
    places : numpy.ndarray or None
        (steps,), int64: rows of the table, sequence after sequence; None where the rows are in that order.
    offsets : numpy.ndarray
        (sequences + 1,), int64: where each begins among these.
    first : numpy.ndarray
        (sequences,), int64: the first row of each in the table.
    """

    places: np.ndarray | None
    offsets: np.ndarray
    first: np.ndarray

    def where(self, kept: np.ndarray) -> Groups:
        """The sequences for which ``kept``, bool (sequences,), is true."""
        lengths = np.diff(self.offsets)
        steps = np.repeat(kept, lengths)
        places = np.flatnonzero(steps) if self.places is None else self.places[steps]
        return Groups(places, offsets_of(lengths[kept]), self.first[kept])

    def any(self, steps: np.ndarray) -> np.ndarray:
        """Which sequences have a step for which ``steps``, bool (rows,), is true."""
        return np.diff(np.concatenate([[0], np.cumsum(self.gathered(steps))])[self.offsets]) > 0  # type: ignore[no-any-return]

    def gathered(self, array: np.ndarray) -> np.ndarray:
        """Something of each row, sequence after sequence."""
        return array if self.places is None else array[self.places]


def checked_key(key: Any, order: Any) -> tuple[list[Any], Any]:
    """The arguments ``key`` and ``order``: no columns where rows are no steps."""
    names = [] if key is None else [key] if is_name(key) else key
    if not isinstance(names, (list, tuple)) or (key is not None and not names) or not all(map(is_name, names)):
        raise InputError(f"key: expected the name of a column, or a list of such names, found {told(key)}")
    if len(set(names)) < len(names):
        raise InputError(f"key: expected columns of different names, found {told(key)}")
    if order is not None and not is_name(order):
        raise InputError(f"order: expected the name of a column, found {told(order)}")
    if order is not None and not names:
        raise InputError(f"order: expected key= too, the column that tells sequences apart, found order={order!r} alone")
    return list(names), order


def grouped(table: Table, key: Sequence[Any], order: Any) -> Groups:
    """The sequences of a table.

    Parameters
    ----------
    table
        A row a step.
    key
        The columns whose values tell sequences apart.
    order
        The column by which steps are sorted in each; equal ones stay in the table's order. None: all do.

    Raises
    ------
    InputError
        If a column is not there, or has nulls.
    """
    check_columns(table, key=key, order=[] if order is None else [order])
    numbers = [table.numbered(name) for name in key]
    starts = runs(numbers, table.rows)
    places, offsets, first = _of_runs([one[starts] for one in numbers], starts, table.rows)
    if order is None:
        return Groups(places, offsets, first)
    by = table.sortable(order) if places is None else table.sortable(order)[places]
    inside = np.ones(len(by), bool)
    inside[offsets[:-1]] = False
    if not (inside[1:] & (by[1:] < by[:-1])).any():
        return Groups(places, offsets, first)
    sorting = np.lexsort((by, np.repeat(np.arange(len(first)), np.diff(offsets))))
    return Groups(sorting if places is None else places[sorting], offsets, first)


def check_columns(table: Table, **arguments: Sequence[Any]) -> None:
    """Refuse arguments that name columns which are not there."""
    for argument, names in arguments.items():
        for name in names:
            if name not in table.names or table.alone:
                found = f"the columns {listed(table.names)}" if not table.alone else "one column that stands by itself"
                raise InputError(f"{argument}: expected a column {name!r}, found {found}")


def runs(numbers: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Rows whose key is another than that of the row before."""
    if not rows:
        return np.zeros(0, np.int64)
    begins = np.zeros(rows, bool)
    begins[0] = True
    for one in numbers:
        begins[1:] |= one[1:] != one[:-1]
    return np.flatnonzero(begins)


def _of_runs(keys: Sequence[np.ndarray], starts: np.ndarray, rows: int) -> Groups:
    """Runs of rows with one key each, brought together where a key has several."""
    by_key = np.lexsort(keys[::-1])
    same = np.ones(max(len(starts) - 1, 0), bool)
    for one in keys:
        there = one[by_key]
        same &= there[1:] == there[:-1]
    lengths = np.diff(np.append(starts, rows))
    if not same.any():
        return Groups(None, offsets_of(lengths), starts)
    group = np.concatenate([[0], np.cumsum(~same)])  # of each run, as sorted by key
    earliest = by_key[np.flatnonzero(np.concatenate([[True], ~same]))]  # runs of one key are sorted by their places
    rank = np.empty(len(earliest), np.int64)
    rank[np.argsort(earliest, kind="stable")] = np.arange(len(earliest))
    number = np.empty(len(starts), np.int64)
    number[by_key] = rank[group]
    of_steps = np.repeat(number, lengths)
    return Groups(np.argsort(of_steps, kind="stable"), offsets_of(np.bincount(of_steps)), starts[np.sort(earliest)])


def given(read: dict[Any, Values], columns: Bound, infos: Sequence[TensorInfo], groups: Groups) -> list[Values]:
    """What each input is: sequences of its columns' steps; where it has no timesteps, what all steps of a sequence say.

    Raises
    ------
    InputError
        If columns do not fit.
    """
    found = []
    for info in infos:
        parts = [(name, read[name].even()) for name in columns[info.name]]
        for name, values in parts:
            if values.offsets is not None:
                raise InputError(f"column {name!r}: expected one value, or lists of one length, in every row of a timestep, found others")
        found.append(_sequences(parts, info, groups))
    return found


def _sequences(parts: list[tuple[Any, Values]], info: TensorInfo, groups: Groups) -> Values:
    """One input."""
    steps = parts[0][1].array if len(parts) == 1 else _features(parts, info)
    wanted = info.shape[1:]
    if steps.ndim == 2 and steps.shape[1:] == (1,) and len(wanted) == 1:
        steps = steps[:, 0]
    if steps.ndim == 1 and len(wanted) == 2 and wanted[1] in (1, None):
        steps = steps[:, np.newaxis]
    if fits(steps.shape[1:], wanted) or (steps.ndim == 1 and tuple(wanted) == (1,)):
        return Values(_constant(steps, parts, info, groups))
    if not wanted or not fits(steps.shape[1:], wanted[1:]):
        each = f"(steps, {', '.join(map(str, steps.shape[1:]))})" if steps.ndim > 1 else "one number a step"
        raise InputError(f"{columns_text(parts, info)}: expected what fits {shape_text(info.shape)}, found {each}")
    lengths = np.diff(groups.offsets)
    if wanted[0] is not None and (lengths != wanted[0]).any():
        row = int((lengths != wanted[0]).argmax())
        raise InputError(
            f"{columns_text(parts, info)}: expected sequences of {wanted[0]} steps, as input {shape_text(info.shape)}, found one of "
            f"{lengths[row]}, whose first row is {groups.first[row]}"
        )
    return Values(groups.gathered(steps), groups.offsets).even()


def _features(parts: list[tuple[Any, Values]], info: TensorInfo) -> np.ndarray:
    """Several columns of steps side by side."""
    if any(values.array.ndim > 2 for _, values in parts):
        raise InputError(f"{columns_text(parts, info)}: expected a number or a list of numbers a step in each, found lists of lists")
    return beside([flat(values.array) for _, values in parts])


def _constant(steps: np.ndarray, parts: list[tuple[Any, Values]], info: TensorInfo, groups: Groups) -> np.ndarray:
    """What is the same in all steps of a sequence."""
    array = groups.gathered(steps)
    first = array[groups.offsets[:-1]]
    others = np.repeat(first, np.diff(groups.offsets), axis=0)
    unlike = (array != others) & ((array == array) | (others == others))  # NaN is as NaN
    differs = flat(unlike).any(axis=1)
    if differs.any():
        place = int(differs.argmax())
        row = place if groups.places is None else int(groups.places[place])
        raise InputError(
            f"{columns_text(parts, info)}: expected the same in all rows of a key, as input {shape_text(info.shape)} has no timesteps, "
            f"found another value in row {row}"
        )
    return first


class Grouper:
    """A table that comes batch by batch, sorted by key: batches that hold all steps of each of their keys.

    Steps of a key follow one another; that of the last in a batch may go on in the next. A key that comes back later is refused: of
    keys that rise or fall from batch to batch the last one tells, of others eight bytes each are kept (of texts and of several columns a
    hash: of a million keys, one that is new is taken for an old one once in thirty million jobs), of up to MOST_KEYS.

    Parameters
    ----------
    key
        The columns whose values tell sequences apart.

    Examples
    --------
    >>> grouper = fastlstm.batch.sequences.Grouper("key")
    >>> batches = [{"key": np.array([1, 1, 2])}, {"key": np.array([2, 3])}]
    >>> whole = [table["key"] for batch in batches for table in grouper.add(batch)]
    >>> whole + [table["key"] for table in grouper.end()]
    [array([1, 1]), array([2, 2]), array([3])]
    """

    def __init__(self, key: Any):
        self.key, _ = checked_key(key, None)
        self._open: list[Any] = []  # of the key that may go on
        self._last: Table | None = None  # that key
        self._seen = hashing.Seen()
        self._keys = 0
        self._rows = 0
        self._way = 0  # 1: keys have risen so far; -1: fallen; None: neither
        self._turned = False

    def add(self, batch: Any) -> Iterator[Any]:
        """The steps that have become complete.

        Parameters
        ----------
        batch
            A table of any kind, the same each time.

        Raises
        ------
        InputError
            If a key comes back, or a column is not there.
        """
        table = table_of(batch)
        check_columns(table, key=self.key)
        if not table.rows:
            return
        keys, known = table.of(self.key), 0 if self._last is None else 1
        if self._last is not None:
            keys = table_of(keys.after([self._last.batch]))
        starts = runs([keys.numbered(name) for name in self.key], keys.rows)
        self._refuse_old(keys, starts, known)
        self._rows += table.rows
        last = int(starts[-1]) - known
        if last < 0:  # the open key goes on to the end
            self._open.append(batch)
            return
        complete = [*self._open, *([table.cut(0, last)] if last else [])]
        self._open, self._last = [table.cut(last, table.rows)], keys.of(self.key, starts[-1:])
        if complete:
            yield in_one(complete)

    def passed(self, batch: Any) -> None:
        """Take note of the keys of a batch whose steps are done: the last of them is whole.

        Parameters
        ----------
        batch
            A table; its key's columns are enough.

        Raises
        ------
        InputError
            As :meth:`add`.
        """
        for _ in self.add(batch):
            pass
        self._open = []

    def end(self) -> Iterator[Any]:
        """The steps of the last key, when there are no more batches."""
        if self._open:
            complete, self._open, self._last = self._open, [], None
            yield in_one(complete)

    def _refuse_old(self, keys: Table, starts: np.ndarray, known: int) -> None:
        """Refuse keys that come back: runs of rows, the first ``known`` of which are of the key that is open."""
        if len(starts) > 1 and not self._turned:
            changes = np.zeros(len(starts) - 1, np.int8)
            for name in self.key:
                changes = np.where(changes == 0, keys.changes(name)[starts[1:] - 1], changes)
            self._way = self._way or int(changes[0])
            self._turned = self._way == 0 or bool((changes != self._way).any())
        new = starts[known:]
        self._keys += len(new)
        if self._keys > MOST_KEYS:
            if self._turned:
                raise InputError(f"key: expected keys that rise or fall, or {MOST_KEYS:,} others at most, found more; {SORTED}")
            self._seen = hashing.Seen()  # from now on keys must go on as they have
            return
        marks = together([keys.marks(name)[new] for name in self.key])
        if self._turned:
            by_mark = np.argsort(marks, kind="stable")
            twice = np.zeros(len(marks), bool)
            twice[by_mark[1:]] = marks[by_mark[1:]] == marks[by_mark[:-1]]
            again = twice | self._seen.among(marks)
            if again.any():
                row = int(new[again.argmax()])
                found = ", ".join(value_text(keys.value(name, row)) for name in self.key)
                raise InputError(
                    f"key: expected all rows of a key one after another, found key {found} again in row "
                    f"{self._rows + row - known}, after others; {SORTED}"
                )
        self._seen.add(marks)


def value_text(value: Any) -> str:
    """A value of a key, for messages."""
    return told(value.item() if isinstance(value, np.generic) else value)


def in_one(tables: Sequence[Any]) -> Any:
    """Tables of one kind, one after another."""
    return tables[0] if len(tables) == 1 else table_of(tables[-1]).after(tables[:-1])


def together(marks: Sequence[np.ndarray]) -> np.ndarray:
    """One mark of those of several columns."""
    found = marks[0]
    for one in marks[1:]:
        found = hashing.mixed(hashing.mixed(found.view(np.uint64)) * hashing.STEP ^ one.view(np.uint64)).view(np.int64)
    return found
