"""Tables and columns of each kind that callers have: what is in them, and the same kind back with columns more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import told
from .extra import arrow_columns
from .objects import of_objects
from .values import Answer, Values

KINDS = "a dict of NumPy arrays, a pandas or polars DataFrame or Series, or a pyarrow Table, RecordBatch, Array or ChunkedArray"
#: What a column that has no name is called.
NAMELESS = "x"


class Table:
    """Columns by name.

    Attributes
    ----------
    names : list of str
        Of the columns, in order.
    rows : int
        How many there are.
    alone : bool
        Is it one column that stands by itself, and is answered by one?
    """

    def __init__(self, names: list[str], rows: int, alone: bool = False):
        self.names = names
        self.rows = rows
        self.alone = alone

    def usable(self, name: str, text: bool) -> bool:
        """Could a model read a column?"""
        raise NotImplementedError

    def values(self, name: str, fill: float | None) -> Values:
        """A column; ``fill`` takes the place of nulls."""
        raise NotImplementedError

    def with_answers(self, answers: Sequence[Answer]) -> Any:
        """The same kind of table with columns more; of one column alone, the answer alone."""
        raise NotImplementedError


class Arrays(Table):
    """A dict of NumPy arrays."""

    def __init__(self, batch: Mapping[str, Any]):
        self.columns = dict(batch)
        for name, column in self.columns.items():
            if not isinstance(name, str) or not isinstance(column, np.ndarray) or not column.ndim:
                raise InputError(f"batch: expected a dict of NumPy arrays by name, found {told(column)} for {told(name)}")
        rows = {name: len(column) for name, column in self.columns.items()}
        if len(set(rows.values())) > 1:
            found = ", ".join(f"{name!r} has {count}" for name, count in rows.items())
            raise InputError(f"batch: expected columns of the same number of rows, found {found}")
        super().__init__(list(rows), next(iter(rows.values()), 0))

    def usable(self, name: str, text: bool) -> bool:
        return self.columns[name].dtype.kind in ("OUST" if text else "biufO")

    def values(self, name: str, fill: float | None) -> Values:
        return of_objects(self.columns[name], name, fill)

    def with_answers(self, answers: Sequence[Answer]) -> dict[str, Any]:
        return self.columns | {answer.name: as_numpy(answer) for answer in answers}


class Arrow(Table):
    """A pyarrow Table or RecordBatch; or one column."""

    def __init__(self, batch: Any):
        self.columns = arrow_columns("batch")
        self.batch = batch
        alone = not hasattr(batch, "schema")
        if not alone:
            once(batch.schema.names)
        super().__init__([NAMELESS] if alone else list(batch.schema.names), len(batch) if alone else batch.num_rows, alone)

    def usable(self, name: str, text: bool) -> bool:
        return self.columns.usable(self.batch.type if self.alone else self.batch.schema.field(name).type, text)

    def values(self, name: str, fill: float | None) -> Values:
        return self.columns.to_array(self.batch if self.alone else self.batch.column(name), name, fill)

    def with_answers(self, answers: Sequence[Answer]) -> Any:
        if self.alone:
            made = self.columns.from_answer(answers[0])
            return chunked(made) if hasattr(self.batch, "num_chunks") else made
        table = self.batch
        for answer in answers:
            table = table.append_column(answer.name, self.columns.from_answer(answer))
        return table


class Pandas(Table):
    """A pandas DataFrame or Series."""

    def __init__(self, batch: Any):
        self.batch = batch
        alone = batch.ndim == 1
        if not alone:
            once(list(batch.columns))
        super().__init__([NAMELESS] if alone else list(batch.columns), len(batch), alone)

    def column(self, name: str) -> Any:
        """A Series."""
        return self.batch if self.alone else self.batch[name]

    def usable(self, name: str, text: bool) -> bool:
        column = self.column(name)
        if is_arrow(column.dtype):
            return bool(arrow_columns(f"column {name!r}").usable(column.dtype.pyarrow_dtype, text))
        kind = getattr(column.dtype, "kind", "O")
        return kind in "OUT" if text else kind in "biufO"

    def values(self, name: str, fill: float | None) -> Values:
        column = self.column(name)
        if is_arrow(column.dtype):
            columns = arrow_columns(f"column {name!r}")
            found: Values = columns.to_array(column.array.__arrow_array__(), name, fill)
            return found
        if isinstance(column.dtype, np.dtype):
            return of_objects(column.to_numpy(), name, fill)
        missing = column.isna().to_numpy()
        kind = getattr(column.dtype, "kind", "O")
        if not missing.any():
            return of_objects(column.to_numpy(getattr(column.dtype, "numpy_dtype", object)), name, fill)
        if kind not in "biuf":
            array = column.to_numpy(object)
            array[missing] = None
            return of_objects(array, name, fill)
        dtype = column.dtype.numpy_dtype
        if fill is None:
            return Values(column.to_numpy(dtype, na_value=dtype.type(0)), None, missing)
        if kind != "f" and dtype.type(fill) != fill:
            dtype = np.dtype(np.float64)
        return Values(column.to_numpy(dtype, na_value=dtype.type(fill)))

    def with_answers(self, answers: Sequence[Answer]) -> Any:
        import pandas as pd  # whose object the caller has given

        made = {answer.name: pd.Series(as_series(answer), index=self.batch.index, name=answer.name) for answer in answers}
        if self.alone:
            return next(iter(made.values())).rename(self.batch.name)
        return self.batch.assign(**made)


class Polars(Table):
    """A polars DataFrame or Series."""

    def __init__(self, batch: Any):
        self.batch = batch
        alone = not hasattr(batch, "columns")
        super().__init__([NAMELESS] if alone else list(batch.columns), len(batch), alone)

    def column(self, name: str) -> Any:
        """A Series."""
        return self.batch if self.alone else self.batch[name]

    def usable(self, name: str, text: bool) -> bool:
        kind = self.column(name).dtype
        while getattr(kind, "inner", None) is not None:
            kind = kind.inner
        if text:
            return str(kind).startswith(("String", "Binary", "Categorical", "Enum"))
        return bool(kind.is_numeric()) or str(kind) == "Boolean"

    def values(self, name: str, fill: float | None) -> Values:
        column = self.column(name)
        if str(column.dtype).startswith("Object"):
            return of_objects(column.to_numpy(), name, fill)
        found: Values = arrow_columns(f"column {name!r}").to_array(column.to_arrow(), name, fill)
        return found

    def with_answers(self, answers: Sequence[Answer]) -> Any:
        import polars as pl  # whose object the caller has given

        columns = arrow_columns("batch")
        made = [pl.Series(answer.name, pl.from_arrow(columns.from_answer(answer))) for answer in answers]
        if self.alone:
            return made[0].alias(self.batch.name)
        return self.batch.with_columns(made)


def table_of(batch: Any) -> Table:
    """A batch as a table.

    Raises
    ------
    InputError
        If it is of no kind that is known.
    """
    if isinstance(batch, Mapping):
        return Arrays(batch)
    kind = type(batch)
    for base in kind.__mro__:
        library, name = base.__module__.split(".")[0], base.__name__
        if library == "pyarrow" and name in ("Table", "RecordBatch", "Array", "ChunkedArray"):
            return Arrow(batch)
        if library == "pandas" and name in ("DataFrame", "Series"):
            return Pandas(batch)
        if library == "polars" and name in ("DataFrame", "Series"):
            return Polars(batch)
        if library == "polars" and name == "LazyFrame":
            raise InputError("batch: expected a table whose rows are there, found a polars LazyFrame; frame.map_batches(predictor)")
    raise InputError(f"batch: expected a NumPy array, {KINDS}, found {told(batch)}")


def once(names: Sequence[Any]) -> None:
    """Refuse columns that share a name."""
    seen: set[Any] = set()
    for name in names:
        if name in seen:
            raise InputError(f"batch: expected columns of different names, found {name!r} twice")
        seen.add(name)


def is_arrow(dtype: Any) -> bool:
    """Does pandas keep a column of a dtype as Arrow does?"""
    return hasattr(dtype, "pyarrow_dtype")


def chunked(array: Any) -> Any:
    """One chunk."""
    import pyarrow as pa

    return pa.chunked_array([array])


def as_numpy(answer: Answer) -> np.ndarray:
    """A column of a dict of arrays: rows of different lengths are an array of arrays; what is missing is NaN, or None."""
    array, offsets, missing = answer.values
    if offsets is not None:
        return rows_of(answer.values)
    if missing is None:
        return array
    if array.dtype.kind != "f":
        array = array.astype(object)
        array[missing] = None
        return array
    array = array.copy()
    array[missing] = np.nan
    return array


def as_series(answer: Answer) -> np.ndarray:
    """A column of a frame of pandas: what is more than a number is an array of arrays."""
    return as_numpy(answer) if answer.values.offsets is None and answer.values.array.ndim == 1 else rows_of(answer.values)


def rows_of(values: Values) -> np.ndarray:
    """An array of arrays, one a row; None where it is missing."""
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
