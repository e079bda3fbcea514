"""Tables of pyarrow, pandas and polars, none of which is imported for it: the caller has."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from . import objects, refusals
from .extra import arrow_columns
from .table import Table, as_numpy, as_objects
from .values import Answer, Fill, Values, holds

#: What a column that has no name is called.
NAMELESS = "x"


class Arrow(Table):
    """A pyarrow Table or RecordBatch; or one column, an Array or ChunkedArray."""

    def __init__(self, batch: Any):
        self.columns = arrow_columns("batch")
        self.batch = batch
        alone = not hasattr(batch, "schema")
        super().__init__([NAMELESS] if alone else batch.schema.names, len(batch) if alone else batch.num_rows, alone)

    def column(self, name: Any) -> Any:
        """An Array or ChunkedArray."""
        return self.batch if self.alone else self.batch.column(name)

    def usable(self, name: Any, text: bool) -> bool:
        return bool(self.columns.usable(self.column(name).type, text))

    def values(self, name: Any, fill: Fill) -> Values:
        return self.columns.to_array(self.column(name), name, fill)  # type: ignore[no-any-return]

    def numbered(self, name: Any) -> np.ndarray:
        return self.columns.numbered(self.column(name), name)  # type: ignore[no-any-return]

    def sortable(self, name: Any) -> np.ndarray:
        return self.columns.sortable(self.column(name), name)  # type: ignore[no-any-return]

    def changes(self, name: Any) -> np.ndarray:
        return self.columns.changes(self.column(name))  # type: ignore[no-any-return]

    def marks(self, name: Any) -> np.ndarray:
        return self.columns.marks(self.column(name))  # type: ignore[no-any-return]

    def value(self, name: Any, row: int) -> Any:
        return self.column(name)[row].as_py()

    def cut(self, first: int, last: int) -> Any:
        return self.batch.slice(first, last - first)

    def after(self, others: Sequence[Any]) -> Any:
        return self.columns.one_after_another([*others, self.batch])

    def of(self, names: Sequence[Any], rows: np.ndarray | None = None) -> Arrow:
        some = self.batch.select(list(names))
        return Arrow(some if rows is None else self.columns.taken(some, rows))

    def with_answers(self, answers: Sequence[Answer]) -> Any:
        made = [self.columns.from_answer(answer) for answer in answers]
        if self.alone:
            return self.columns.chunked(made[0]) if hasattr(self.batch, "num_chunks") else made[0]
        return self.columns.with_columns(self.batch, [answer.name for answer in answers], made)


class Pandas(Table):
    """A pandas DataFrame or Series."""

    def __init__(self, batch: Any):
        self.batch = batch
        alone = batch.ndim == 1
        names = [NAMELESS if batch.name is None else batch.name] if alone else list(batch.columns)
        super().__init__(names, len(batch), alone)

    def column(self, name: Any) -> Any:
        """A Series."""
        return self.batch if self.alone else self.batch[name]

    def in_arrow(self, name: Any) -> tuple[ModuleType, Any] | None:
        """A column that pandas keeps as Arrow does, as one of Arrow, and what reads it."""
        column = self.column(name)
        if not hasattr(column.dtype, "pyarrow_dtype"):
            return None
        return arrow_columns(f"column {name!r}"), column.array.__arrow_array__()

    def usable(self, name: Any, text: bool) -> bool:
        arrow = self.in_arrow(name)
        if arrow is not None:
            return bool(arrow[0].usable(arrow[1].type, text))
        kind = getattr(self.column(name).dtype, "kind", "O")
        return kind in "OUT" if text else kind in "biufO"

    def values(self, name: Any, fill: Fill) -> Values:
        arrow = self.in_arrow(name)
        if arrow is not None:
            return arrow[0].to_array(arrow[1], name, fill)  # type: ignore[no-any-return]
        column = self.column(name)
        if isinstance(column.dtype, np.dtype):
            return objects.of_objects(column.to_numpy(), name, fill)
        missing = column.isna().to_numpy()
        dtype = getattr(column.dtype, "numpy_dtype", np.dtype(object))
        if dtype.kind not in "biuf":
            categories = getattr(column.dtype, "categories", None)
            if categories is not None and categories.dtype.kind in "biuf" and not missing.any():
                return objects.of_objects(column.to_numpy(categories.dtype), name, fill)
            given = column.to_numpy(object)
            return objects.of_objects(np.asarray(np.where(missing, None, given)) if missing.any() else given, name, fill)
        if not missing.any():
            return Values(column.to_numpy(dtype))
        stand_in = 0.0 if fill is None else fill
        dtype = dtype if holds(dtype, stand_in) else np.dtype(np.float64)
        return Values(column.to_numpy(dtype, na_value=dtype.type(stand_in)), None, missing if fill is None else None)

    def numbered(self, name: Any) -> np.ndarray:
        arrow = self.in_arrow(name)
        if arrow is not None:
            return arrow[0].numbered(arrow[1], name)  # type: ignore[no-any-return]
        column = self.column(name)
        if column.isna().any():
            raise refusals.null_key(name, int(column.isna().to_numpy().argmax()))
        return objects.numbered(column.to_numpy(), name)

    def sortable(self, name: Any) -> np.ndarray:
        arrow = self.in_arrow(name)
        if arrow is not None:
            return arrow[0].sortable(arrow[1], name)  # type: ignore[no-any-return]
        column = self.column(name)
        if column.isna().any():
            raise refusals.null_order(name, int(column.isna().to_numpy().argmax()))
        if getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert(None)
        return objects.sortable(column.to_numpy(getattr(column.dtype, "numpy_dtype", None)), name)

    def changes(self, name: Any) -> np.ndarray:
        arrow = self.in_arrow(name)
        return objects.changes(self.column(name).to_numpy()) if arrow is None else arrow[0].changes(arrow[1])

    def marks(self, name: Any) -> np.ndarray:
        arrow = self.in_arrow(name)
        return objects.marks(self.column(name).to_numpy()) if arrow is None else arrow[0].marks(arrow[1])

    def value(self, name: Any, row: int) -> Any:
        return self.column(name).iloc[row]

    def cut(self, first: int, last: int) -> Any:
        return self.batch.iloc[first:last]

    def after(self, others: Sequence[Any]) -> Any:
        import pandas as pd  # whose object the caller has given

        return pd.concat([*others, self.batch])

    def of(self, names: Sequence[Any], rows: np.ndarray | None = None) -> Pandas:
        some = self.batch[list(names)]
        return Pandas(some if rows is None else some.iloc[rows].reset_index(drop=True))

    def with_answers(self, answers: Sequence[Answer]) -> Any:
        import pandas as pd  # whose object the caller has given

        made = {}
        for answer in answers:
            plain = answer.values.offsets is None and answer.values.array.ndim == 1
            column = as_numpy(answer.values) if plain else as_objects(answer.values)
            made[answer.name] = pd.Series(column, index=self.batch.index, name=answer.name)
        return made[answers[0].name].rename(self.batch.name) if self.alone else self.batch.assign(**made)


class Polars(Table):
    """A polars DataFrame or Series."""

    def __init__(self, batch: Any):
        self.batch = batch
        alone = not hasattr(batch, "columns")
        super().__init__([batch.name or NAMELESS] if alone else batch.columns, len(batch), alone)

    def column(self, name: Any) -> Any:
        """A Series."""
        return self.batch if self.alone else self.batch[name]

    def in_arrow(self, name: Any) -> Any:
        """A column as one of Arrow."""
        try:
            return self.column(name).to_arrow()
        except Exception as error:
            raise refusals.no_numbers(name, str(self.column(name).dtype)) from error

    def is_objects(self, name: Any) -> bool:
        """Is a column one of Python objects?"""
        return str(self.column(name).dtype).startswith("Object")

    def usable(self, name: Any, text: bool) -> bool:
        kind = self.column(name).dtype
        while getattr(kind, "inner", None) is not None:
            kind = kind.inner
        if text:
            return str(kind).startswith(("String", "Binary", "Categorical", "Enum"))
        return bool(kind.is_numeric()) or str(kind) == "Boolean"

    def values(self, name: Any, fill: Fill) -> Values:
        if self.is_objects(name):
            return objects.of_objects(self.column(name).to_numpy(), name, fill)
        return arrow_columns(f"column {name!r}").to_array(self.in_arrow(name), name, fill)  # type: ignore[no-any-return]

    def numbered(self, name: Any) -> np.ndarray:
        return arrow_columns(f"column {name!r}").numbered(self.in_arrow(name), name)  # type: ignore[no-any-return]

    def sortable(self, name: Any) -> np.ndarray:
        return arrow_columns(f"column {name!r}").sortable(self.in_arrow(name), name)  # type: ignore[no-any-return]

    def changes(self, name: Any) -> np.ndarray:
        return arrow_columns(f"column {name!r}").changes(self.in_arrow(name))  # type: ignore[no-any-return]

    def marks(self, name: Any) -> np.ndarray:
        return arrow_columns(f"column {name!r}").marks(self.in_arrow(name))  # type: ignore[no-any-return]

    def cut(self, first: int, last: int) -> Any:
        return self.batch[first:last]

    def after(self, others: Sequence[Any]) -> Any:
        import polars as pl  # whose object the caller has given

        return pl.concat([*others, self.batch])

    def of(self, names: Sequence[Any], rows: np.ndarray | None = None) -> Polars:
        some = self.batch.select(list(names))
        return Polars(some if rows is None else some[rows])

    def with_answers(self, answers: Sequence[Answer]) -> Any:
        import polars as pl  # whose object the caller has given

        columns = arrow_columns("batch")
        made = [pl.Series(answer.name, pl.from_arrow(columns.from_answer(answer))) for answer in answers]
        return made[0].alias(self.batch.name) if self.alone else self.batch.with_columns(made)
