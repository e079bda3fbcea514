"""Arrow: files, mapped, and streams, also of standard input and to standard output."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ... import lazy
from ...errors import InputError
from .base import Batch, Reading, Source, bounded, guarded, length, said, understood
from .mapped import Mapped
from .tables import TableSink, decoded

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazy.module("pyarrow")

FILE = b"ARROW1"
KIND = "Arrow"
#: Bytes after which pages that were read are given back.
RELEASED = 8 << 20


class ArrowSource(Source):
    """An Arrow file or stream, mapped; a Feather file of version 2 is the former.

    Parameters
    ----------
    path
        The file.
    reading
        Nothing of it matters here.

    Raises
    ------
    InputError
        If it is neither, or was cut off.
    """

    def __init__(self, path: str, reading: Reading):
        self.name = path
        self._mapped = Mapped(path, KIND)
        memory = self._mapped.memory
        if memory[:4] == b"FEA1":
            raise InputError(f"{path}: Feather version 1, of before 2020; pyarrow.feather.write_feather(table, path) writes version 2")
        self._is_file = memory[: len(FILE)] == FILE
        with understood(path, KIND):
            try:
                opened = self._open()
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(f"{path}: cannot be read as Arrow: {said(error)} (was it written to its end?)") from error
            self.schema = opened.schema
            self.rows = None
            if self._is_file:
                self.rows = sum(opened.get_batch(number).num_rows for number in range(opened.num_record_batches))
        self.names = tuple(self.schema.names)
        self._done = 0.0

    def _open(self) -> Any:
        buffer = pa.BufferReader(pa.py_buffer(self._mapped.memory))
        return pa.ipc.open_file(buffer) if self._is_file else pa.ipc.open_stream(buffer)

    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """See Source."""
        return self._released(bounded(guarded(self._read(columns), self.name, KIND), rows, start))

    def _read(self, columns: Sequence[str]) -> Iterator[Batch]:
        with understood(self.name, KIND):
            opened = self._open()
        if self._is_file:
            for number in range(opened.num_record_batches):
                yield proven(opened.get_batch(number).select(list(columns)))
        else:
            yield from (proven(batch.select(list(columns))) for batch in opened)
        yield _empty(opened.schema, columns)

    def _released(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        passed = 0
        for batch in batches:
            yield batch
            passed += length(batch) and batch.nbytes  # type: ignore[union-attr]
            if passed >= RELEASED:
                self._mapped.release()
                passed = 0


class StreamSource(Source):
    """An Arrow stream that comes through a pipe.

    Parameters
    ----------
    stream
        Where it comes from.
    name
        As messages call it.

    Raises
    ------
    InputError
        If it is none.
    """

    restarts = False

    def __init__(self, stream: io.RawIOBase, name: str):
        self.name = name
        with understood(name, KIND):
            self._opened = pa.ipc.open_stream(io.BufferedReader(stream))  # which gives as many bytes as it is asked for
            self.schema = self._opened.schema
        self.names = tuple(self.schema.names)

    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """See Source."""
        return bounded(guarded(self._read(columns), self.name, KIND), rows, start)

    def _read(self, columns: Sequence[str]) -> Iterator[Batch]:
        yield from (proven(batch.select(list(columns))) for batch in self._opened)
        yield _empty(self.schema, columns)


def proven(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose lengths and offsets lie inside its memory: Arrow itself takes what a file says of them.

    Raises
    ------
    pyarrow.ArrowInvalid
        If one does not.
    """
    batch.validate(full=True)
    return batch


def _empty(schema: Any, columns: Sequence[str]) -> pa.RecordBatch:
    """No rows."""
    return pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in columns]))


class ArrowSink(TableSink):
    """An Arrow file, not compressed, so that it can be mapped."""

    compression: str | None = None
    source = ArrowSource

    def _opened(self, schema: pa.Schema) -> Any:
        return pa.ipc.new_file(self.stream, schema, options=pa.ipc.IpcWriteOptions(compression=self.compression))

    def _writable(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Without dictionaries: a file has one for each column, and those of later batches may hold other values."""
        return decoded(batch)

    def _put(self, table: pa.Table) -> None:
        for batch in table.combine_chunks().to_batches():
            self._writer.write_batch(batch)


class FeatherSink(ArrowSink):
    """A Feather file: an Arrow file, compressed as pyarrow.feather does."""

    compression = "lz4"


class StreamSink(ArrowSink):
    """An Arrow stream; what is written of it can be read before it ends."""

    rows = 1

    def _opened(self, schema: pa.Schema) -> Any:
        return pa.ipc.new_stream(self.stream, schema)

    def _writable(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A stream may replace dictionaries."""
        return batch

    def abandon(self) -> None:
        """See Sink. What ends a stream is not written: whoever reads it would take it for whole."""
