"""Parquet, a few rows at a time, however large its row groups are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import lazy
from ...errors import InputError
from .base import Batch, Ranges, Reading, Source, bounded, guarded, said, stamp, understood
from .tables import TableSink

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa, pq = map(lazy.module, ("pyarrow", "pyarrow.parquet"))

#: Bytes that are read ahead of a column. Without a buffer, a column of a row group is read whole, which may be gigabytes.
BUFFER = 1 << 18
KIND = "Parquet"


class ParquetSource(Source):
    """A Parquet file.

    Parameters
    ----------
    path
        The file.
    reading
        Nothing of it matters here.

    Raises
    ------
    InputError
        If it is no Parquet, or was cut off.
    """

    def __init__(self, path: str, reading: Reading):
        self.name = path
        with understood(path, KIND):
            self._stamp = stamp(path)
            try:
                self._file = pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True)
            except pa.ArrowInvalid as error:
                raise InputError(f"{path}: cannot be read as Parquet: {said(error)} (was it written to its end?)") from error
            self.schema, self.rows = self._file.schema_arrow, self._file.metadata.num_rows
        self.names = tuple(self.schema.names)

    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """See Source."""
        return bounded(guarded(self._read(columns, rows, start), self.name, KIND), rows, start - self._before(start)[1])

    def ranges(self, start: int) -> Ranges:
        """See Source: row groups, as a process has to go through one from its beginning."""
        metadata, first = self._file.metadata, 0
        found: list[tuple[int, int]] = []
        for group in range(metadata.num_row_groups):
            end = first + metadata.row_group(group).num_rows
            if end > max(start, first):
                found.append((max(start, first), end - max(start, first)))
            first = end
        return Ranges(partial(_same, self.name, self._stamp), found)

    def _before(self, start: int) -> tuple[int, int]:
        """How many row groups lie before a row as a whole, and their rows."""
        metadata, passed = self._file.metadata, 0
        for group in range(metadata.num_row_groups):
            count = metadata.row_group(group).num_rows
            if passed + count > start:
                return group, passed
            passed += count
        return metadata.num_row_groups, passed

    def _read(self, columns: Sequence[str], rows: int, start: int) -> Iterator[Batch]:
        schema: Any = self.schema
        groups = range(self._before(start)[0], self._file.metadata.num_row_groups)
        for group in groups:  # each by itself, as one that is damaged then leaves those before it
            yield from self._file.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False)
        if not groups:
            yield pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in columns]))

    def close(self) -> None:
        """See Source."""
        self._file.close()


def _same(path: str, expected: tuple[int, ...]) -> ParquetSource:
    """A file that another process has opened.

    Raises
    ------
    InputError
        If another file, or other content, stands there by now: its rows belong to others.
    """
    source = ParquetSource(path, Reading())
    if stamp(path) == expected:  # what was opened is no later than that
        return source
    source.close()
    raise InputError(f"{path}: has changed since its first rows were read; run the job again when nothing writes to it any more")


class ParquetSink(TableSink):
    """A Parquet file: Zstandard, row groups of some megabytes."""

    source = ParquetSource

    def _opened(self, schema: pa.Schema) -> Any:
        # A dictionary of floats, which hardly ever repeat, is in vain.
        repeating = [one.name for one in schema if not pa.types.is_floating(one.type) and not pa.types.is_nested(one.type)]
        return pq.ParquetWriter(self.stream, schema, compression="zstd", use_dictionary=repeating, write_page_checksum=True)

    def _put(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
