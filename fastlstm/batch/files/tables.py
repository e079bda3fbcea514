"""Batches as Arrow has them and as arrays, and what is written of either."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ... import lazy
from ...errors import InputError
from ..values import flat as rows_flat
from .base import Batch, Reading, Sink, Source

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

    from .. import columns
else:
    pa, pc, columns = map(lazy.module, ("pyarrow", "pyarrow.compute", "fastlstm.batch.columns"))

#: Rows and bytes that are written at once: a row group of Parquet, a record batch of an Arrow file.
ROWS = 1 << 17
BYTES = 8 << 20
#: Rows of a part that are read at once, when parts become one file.
MERGED = 1 << 14


class Gathered:
    """Small batches become larger tables."""

    def __init__(self, rows: int = ROWS, size: int = BYTES):
        self._most, self._size = rows, size
        self._batches: list[pa.RecordBatch] = []
        self._rows, self._bytes = 0, 0
        self._given = False

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.Table]:
        """Take a batch; gives a table once there is enough for one."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= self._most or self._bytes >= self._size:
            yield self._table()

    def rest(self) -> Iterator[pa.Table]:
        """What is left at the end; a table of no rows where there never was one."""
        if self._batches and (self._rows or not self._given):
            yield self._table()

    def _table(self) -> pa.Table:
        table = pa.Table.from_batches(self._batches)
        self._batches, self._rows, self._bytes, self._given = [], 0, 0, True
        return table


class TableSink(Sink):
    """What pyarrow writes as tables, which small batches become first."""

    #: Rows of a table, and bytes, whatever comes first.
    rows, size = ROWS, BYTES
    #: What reads such a file.
    source: Callable[[str, Reading], Source]

    def __init__(self, stream: BinaryIO, name: str, *, first: bool = True):
        super().__init__(stream, name, first=first)
        self._writer: Any = None
        self._gathered = Gathered(self.rows, self.size)

    @abstractmethod
    def _opened(self, schema: pa.Schema) -> Any:
        """The writer of a file."""

    @abstractmethod
    def _put(self, table: pa.Table) -> None:
        """Write a table."""

    def _writable(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What of a batch is written."""
        return batch

    def write(self, batch: Batch) -> None:
        """See Sink."""
        found = self._writable(as_record_batch(batch))
        if self._writer is None:
            self._writer = self._opened(found.schema)
        for table in self._gathered.add(found):
            self._put(table)

    def close(self) -> None:
        """See Sink."""
        for table in self._gathered.rest():
            self._put(table)
        if self._writer is not None:
            self._writer.close()

    def abandon(self) -> None:
        """See Sink."""
        if self._writer is not None:
            with suppress(Exception):
                self._writer.close()

    @classmethod
    def merge(cls, parts: Sequence[str], stream: BinaryIO, name: str) -> None:
        """See Sink."""
        sink = cls(stream, name)
        for part in parts:
            with cls.source(part, Reading()) as source:
                for batch in source.batches(source.names, MERGED):
                    sink.write(batch)
        sink.close()


def as_record_batch(batch: Batch) -> pa.RecordBatch:
    """A batch as Arrow has it."""
    if not isinstance(batch, Mapping):
        return batch
    plain = [array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array for array in batch.values()]
    return pa.RecordBatch.from_arrays([columns.from_array(array) for array in plain], list(batch))


def decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns that name their values by a dictionary, with the values themselves."""
    if not any(pa.types.is_dictionary(one.type) for one in batch.schema):
        return batch
    plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(plain, batch.schema.names)


def arrays_of(batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    """A batch as arrays.

    Raises
    ------
    InputError
        If rows of a column differ in length, or are null.
    """
    found = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = columns.to_array(column, name).even()
        if values.offsets is not None:
            raise InputError(
                f"column {name!r}: its rows differ in length, which no array holds: expected a .parquet, .arrow or .jsonl file"
            )
        array = values.array
        if values.missing is not None:
            if array.dtype.kind != "f":
                raise InputError(f"column {name!r}: it has nulls, which no array of {array.dtype} holds: expected a .parquet or .csv file")
            array = array.copy()
            array[values.missing] = np.nan
        found[name] = np.array([one.decode() for one in array], dtype=str) if array.dtype == object else array
    return found


def flat(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
    """Columns of lists of one length become a column for each place, ``y_0``, ``y_1``, ...: for files of plain cells.

    Raises
    ------
    InputError
        If a column holds anything else that no cell takes.
    """
    arrays: list[Any] = []
    names: list[str] = []
    for label, column in zip(batch.schema.names, batch.columns, strict=True):
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        if not pa.types.is_nested(column.type):
            arrays.append(column)
            names.append(label)
            continue
        values = columns.to_array(column, label)
        if values.offsets is not None or not pa.types.is_fixed_size_list(column.type):
            raise InputError(
                f"{name}: column {label!r} is of {column.type}, which no cell of CSV holds: expected a .parquet or .jsonl file"
            )
        places = [*_places(column)] if values.missing is not None else [pa.array(one) for one in rows_flat(values.array).T]
        arrays += places
        names += [f"{label}_{place}" for place in range(len(places))]
    twice = sorted({one for one in names if names.count(one) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(
            f"{name}: expected columns of different names, found {twice[0]!r} twice: one is a column of its own, the other a place in a "
            "list; --output-columns names an output otherwise, --keep leaves columns out"
        )
    return pa.RecordBatch.from_arrays(arrays, names)


def _places(column: Any) -> Iterator[Any]:
    """A column for each place of lists of one length, of which some are null or hold a null."""
    if not pa.types.is_fixed_size_list(column.type):
        yield column
        return
    for place in range(column.type.list_size):
        yield from _places(pc.list_element(column, place))
