"""What every kind of table can do, and dicts of NumPy arrays, which need no library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import told
from . import objects
from .values import Answer, Fill, Values


class Table(ABC):
    """Columns by name.

    Attributes
    ----------
    names : list
        Of the columns, in order.
    rows : int
        How many there are.
    alone : bool
        Is it one column that stands by itself, and is answered by one?
    batch
        The caller's own.
    """

    batch: Any

    def __init__(self, names: Sequence[Any], rows: int, alone: bool = False):
        seen: set[Any] = set()
        for name in names:
            if name in seen:
                raise InputError(f"batch: expected columns of different names, found {name!r} twice")
            seen.add(name)
        self.names = list(names)
        self.rows = rows
        self.alone = alone

    @abstractmethod
    def usable(self, name: Any, text: bool) -> bool:
        """Could a model that reads text, or numbers, read a column?"""

    @abstractmethod
    def values(self, name: Any, fill: Fill) -> Values:
        """A column; ``fill`` takes the place of nulls."""

    @abstractmethod
    def numbered(self, name: Any) -> np.ndarray:
        """Whole numbers of 64 bits that are equal where the values of a key's column are."""

    @abstractmethod
    def sortable(self, name: Any) -> np.ndarray:
        """Numbers in the order of the values of a column."""

    @abstractmethod
    def changes(self, name: Any) -> np.ndarray:
        """(rows - 1,): how the value of a key's column changes from row to row: 1 it rises, -1 it falls, 0 it stays."""

    @abstractmethod
    def marks(self, name: Any) -> np.ndarray:
        """Of each value of a key's column 64 bits that are the same in every table: a whole number itself, or a hash."""

    def value(self, name: Any, row: int) -> Any:
        """One value of a column, for messages."""
        return self.column(name)[row]

    @abstractmethod
    def column(self, name: Any) -> Any:
        """A column as the caller has it."""

    @abstractmethod
    def of(self, names: Sequence[Any], rows: np.ndarray | None = None) -> Table:
        """Some columns of some rows; None: of all."""

    @abstractmethod
    def cut(self, first: int, last: int) -> Any:
        """The rows from ``first`` to before ``last``, as the caller's kind of table."""

    @abstractmethod
    def after(self, others: Sequence[Any]) -> Any:
        """The caller's table behind others of its kind, in one."""

    @abstractmethod
    def with_answers(self, answers: Sequence[Answer]) -> Any:
        """The caller's table with columns more; of one column alone, the answer alone."""


class Arrays(Table):
    """A dict of NumPy arrays."""

    def __init__(self, batch: Mapping[Any, Any]):
        self.batch = self.columns = dict(batch)
        for name, column in self.columns.items():
            if not isinstance(name, str) or not isinstance(column, np.ndarray) or not column.ndim:
                raise InputError(f"batch: expected a dict of NumPy arrays by name, found {told(column)} for {told(name)}")
        rows = {name: len(column) for name, column in self.columns.items()}
        if len(set(rows.values())) > 1:
            found = ", ".join(f"{name!r} has {count}" for name, count in rows.items())
            raise InputError(f"batch: expected columns of the same number of rows, found {found}")
        super().__init__(list(rows), next(iter(rows.values()), 0))

    def usable(self, name: Any, text: bool) -> bool:
        return self.columns[name].dtype.kind in ("OUST" if text else "biufO")

    def values(self, name: Any, fill: Fill) -> Values:
        return objects.of_objects(self.columns[name], name, fill)

    def column(self, name: Any) -> np.ndarray:
        return self.columns[name]

    def numbered(self, name: Any) -> np.ndarray:
        return objects.numbered(self.columns[name], name)

    def changes(self, name: Any) -> np.ndarray:
        return objects.changes(self.columns[name])

    def marks(self, name: Any) -> np.ndarray:
        return objects.marks(self.columns[name])

    def sortable(self, name: Any) -> np.ndarray:
        return objects.sortable(self.columns[name], name)

    def of(self, names: Sequence[Any], rows: np.ndarray | None = None) -> Arrays:
        return Arrays({name: self.columns[name] if rows is None else self.columns[name][rows] for name in names})

    def cut(self, first: int, last: int) -> dict[str, Any]:
        return {name: column[first:last] for name, column in self.columns.items()}

    def after(self, others: Sequence[Any]) -> dict[str, Any]:
        return {name: np.concatenate([*(one[name] for one in others), column]) for name, column in self.columns.items()}

    def with_answers(self, answers: Sequence[Answer]) -> dict[str, Any]:
        return self.columns | {answer.name: as_numpy(answer.values) for answer in answers}


def as_numpy(values: Values) -> np.ndarray:
    """A column of a dict of arrays: rows of different lengths are an array of arrays; what is missing is NaN, or None among texts."""
    array, offsets, missing = values
    if offsets is not None:
        return as_objects(values)
    if missing is None:
        return array
    array = array.astype(np.float64 if array.dtype.kind in "biu" else object if array.dtype.kind not in "fO" else array.dtype)
    array[missing] = None if array.dtype == object else np.nan
    return array


def as_objects(values: Values) -> np.ndarray:
    """An array of arrays, one a row: what NumPy and pandas have in place of lists; None where it is missing."""
    array, offsets, missing = values
    made = np.empty(values.rows, object)
    if offsets is None:
        for row in range(len(made)):
            made[row] = array[row]
    else:
        for row, (first, last) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            made[row] = array[first:last]
    if missing is not None:
        made[missing] = None
    return made
