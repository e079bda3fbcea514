"""One batch of rows as every column, and every table, that holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

#: What stands before and behind a column that is a slice of a longer one.
AROUND = 3


def fixed_size(x: np.ndarray) -> pa.Array:
    """(rows, a, b, ...) as lists of a fixed size, of lists of a fixed size and so on."""
    if x.ndim == 1:
        return pa.array(np.ascontiguousarray(x))
    inner = fixed_size(x.reshape(-1, *x.shape[2:]))
    return pa.FixedSizeListArray.from_arrays(inner, x.shape[1])


def listed(x: np.ndarray, kind: Any = pa.ListArray, deep: bool = True) -> pa.Array:
    """The same as lists that could be of any length; the inner ones too, if ``deep``."""
    inner = x.reshape(-1, *x.shape[2:])
    values = fixed_size(inner) if not deep or inner.ndim == 1 else listed(inner, kind)
    dtype = np.int64 if kind is pa.LargeListArray else np.int32
    return kind.from_arrays(pa.array(np.arange(len(x) + 1, dtype=dtype) * x.shape[1]), values)


def tensors(x: np.ndarray) -> pa.Array:
    """Arrow's tensors."""
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(x))


def permuted(x: np.ndarray) -> pa.Array:
    """The same, whose axes stand in memory in another order."""
    inner = np.ascontiguousarray(x.swapaxes(1, 2))
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(x.dtype), inner.shape[1:], permutation=[1, 0])
    return pa.ExtensionArray.from_storage(kind, fixed_size(inner.reshape(len(x), -1)))


def backwards(x: np.ndarray) -> pa.Array:
    """Lists by where they begin and how long they are: the last row stands first in memory."""
    begins = pa.array((np.arange(len(x), dtype=np.int32) * x.shape[1])[::-1].copy())
    sizes = pa.array(np.full(len(x), x.shape[1], np.int32))
    return pa.ListViewArray.from_arrays(begins, sizes, fixed_size(x[::-1].reshape(-1)))


#: (rows, timesteps, features) as a column.
COLUMNS: dict[str, Callable[[np.ndarray], pa.Array]] = {
    "numbers": lambda x: fixed_size(x.reshape(len(x), -1)),
    "nested": fixed_size,
    "lists": lambda x: listed(x.reshape(len(x), -1)),
    "large lists": lambda x: listed(x.reshape(len(x), -1), pa.LargeListArray),
    "lists of fixed ones": lambda x: listed(x, deep=False),
    "lists of lists": listed,
    "large lists of large lists": lambda x: listed(x, pa.LargeListArray),
    "list views": lambda x: backwards(x.reshape(len(x), -1)),
    "tensors": tensors,
    "permuted tensors": permuted,
    "doubles": lambda x: fixed_size(x.reshape(len(x), -1)).cast(pa.list_(pa.float64(), x[0].size)),
}


def sliced(make: Callable[[np.ndarray], pa.Array], x: np.ndarray) -> pa.Array:
    """A column that is a slice of a longer one."""
    around = np.full((AROUND, *x.shape[1:]), 7, x.dtype)
    return make(np.concatenate([around, x, around])).slice(AROUND, len(x))


def chunks(make: Callable[[np.ndarray], pa.Array], x: np.ndarray, sizes: list[int]) -> pa.ChunkedArray:
    """A column of chunks, each a slice of something longer."""
    parts = np.split(x, np.cumsum(sizes))
    return pa.chunked_array([sliced(make, part) for part in parts])


def in_pandas(x: np.ndarray) -> pd.Series:
    made = pd.Series([None] * len(x), dtype=object, index=np.arange(len(x)) * 2)
    for row, one in enumerate(x):
        made.iloc[row] = one
    return made


#: (rows, timesteps, features) as a table with the column "x".
TABLES: dict[str, Callable[[np.ndarray], Any]] = {
    "dict": lambda x: {"x": x},
    "dict of flat rows": lambda x: {"x": x.reshape(len(x), -1).astype(np.float64)},
    "table": lambda x: pa.table({"x": COLUMNS["nested"](x)}),
    "record batch": lambda x: pa.record_batch({"x": COLUMNS["numbers"](x)}),
    "pandas": lambda x: pd.DataFrame({"x": in_pandas(x)}),
    "pandas with lists": lambda x: pd.DataFrame({"x": pd.Series([row.tolist() for row in x], dtype=object)}),
    "pandas with Arrow": lambda x: pd.DataFrame({"x": pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([COLUMNS["nested"](x)])))}),
    "polars": lambda x: pl.DataFrame({"x": pl.Series(x, dtype=pl.Array(pl.Float32, x.shape[1:]))}),
    "polars lists": lambda x: pl.DataFrame({"x": pl.from_arrow(COLUMNS["lists"](x))}),
}


def as_numpy(table: Any, name: str) -> np.ndarray:
    """A column of a table of any kind, of rows of one shape."""
    column = table[name]
    if isinstance(column, np.ndarray):
        return column if column.dtype != object else np.stack(column)
    if isinstance(column, pl.Series):
        return np.array(column.to_list(), np.float32)
    if isinstance(column, pd.Series):
        return np.stack(column) if column.dtype == object else column.to_numpy()
    return np.array(column.to_pylist(), np.float32)
