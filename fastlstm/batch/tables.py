"""Which kind of table a batch is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import lazy
from ..errors import InputError
from ..inputs import told
from .table import Arrays, Table

if TYPE_CHECKING:
    from . import frames
else:
    frames = lazy.module("fastlstm.batch.frames")

KINDS = "a dict of NumPy arrays, a pandas or polars DataFrame or Series, or a pyarrow Table, RecordBatch, Array or ChunkedArray"


def table_of(batch: Any) -> Table:
    """A batch as a table.

    Raises
    ------
    InputError
        If it is of no kind that is known.
    """
    if isinstance(batch, Mapping):
        return Arrays(batch)
    for base in type(batch).__mro__:
        library, name = base.__module__.split(".")[0], base.__name__
        if library == "pyarrow" and name in ("Table", "RecordBatch", "Array", "ChunkedArray"):
            return frames.Arrow(batch)
        if library == "pandas" and name in ("DataFrame", "Series"):
            return frames.Pandas(batch)
        if library == "polars" and name in ("DataFrame", "Series"):
            return frames.Polars(batch)
        if library == "polars" and name == "LazyFrame":
            raise InputError(
                "batch: expected a table whose rows are there, found a polars LazyFrame; frame.map_batches(predictor) calls with such, or "
                "frame.collect() makes one"
            )
    batches = hasattr(batch, "__next__")
    advice = "; map(predictor, batches) calls it with each batch of an iterator" if batches else ""
    raise InputError(f"batch: expected a NumPy array, {KINDS}, found {type(batch).__name__ if batches else told(batch)}{advice}")
