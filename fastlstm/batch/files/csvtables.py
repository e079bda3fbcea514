"""CSV whose columns have names, a block at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from ... import lazy
from ...errors import InputError
from .base import LONGEST, Batch, Reading, Sink, bounded, guarded, said, understood
from .lines import Joined, Lines
from .piped import Counted
from .tables import as_record_batch, flat

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as arrow_csv
else:
    pa, pc, arrow_csv = map(lazy.module, ("pyarrow", "pyarrow.compute", "pyarrow.csv"))

KIND = "CSV"
#: Bytes that are parsed at once. A line is no longer than that.
BLOCK = 1 << 20
SEPARATORS = ",;\t"
#: What stands for a missing value. NaN is a number.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "none", "NONE", "<NA>")


class CsvSource(Lines):
    """CSV with a line of names.

    Parameters
    ----------
    stream
        The bytes.
    name
        As messages call it.
    reading
        Which columns are numbers, and which are text.
    path
        The file; None: a pipe, that can be read once.

    Raises
    ------
    InputError
        If its first line holds no names.
    """

    def __init__(self, stream: Counted, name: str, reading: Reading, path: str | None = None):
        super().__init__(stream, name, path)
        self._reading = reading
        with understood(name, KIND):
            head = stream.look()
        try:
            line = head.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: expected names in UTF-8 in the first line, found other bytes: {error.reason}") from error
        if not line.strip():
            raise InputError(f"{name}: expected CSV with a first line of names, found {'an empty line' if head else 'an empty file'}")
        bare = "".join(line.split('"')[::2])  # what stands between quotation marks separates nothing
        counts = {mark: bare.count(mark) for mark in SEPARATORS}
        self._separator = max(counts, key=lambda mark: counts[mark])
        with understood(name, KIND):
            (names,) = csv.reader([line], delimiter=self._separator)
        self.names = tuple(names)
        self._numbers: Sequence[str] = ()
        self._typed = False
        self._texts: Sequence[str] = ()
        twice = sorted({one for one in names if names.count(one) > 1})
        if twice:
            raise InputError(f"{name}: expected each column once, found {twice[0]!r} twice in the first line")
        whole = head[: head.rfind(b"\n") + 1] or head
        self.schema = self._opened(pa.BufferReader(whole), self.names).schema

    def typed(self, numbers: Sequence[str], texts: Sequence[str]) -> None:
        """See Source."""
        self._numbers, self._texts, self._typed = numbers, texts, True

    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """See Source."""
        return bounded(guarded(self._read(columns), self.name, KIND), rows, start)

    def _read(self, columns: Sequence[str]) -> Iterator[Batch]:
        self.begin()
        with understood(self.name, KIND):
            reader = self._opened(pa.PythonFile(self.stream, "r"), columns)
        with reader:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    break
                except pa.ArrowInvalid as error:
                    raise self._refused(error) from error
                yield batch
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)

    def _opened(self, stream: Any, columns: Sequence[str]) -> Any:
        types = {column: pa.string() for column in columns if column in self._texts or (self._typed and self._reading.verbatim)}
        types |= {column: pa.float64() for column in columns if column in self._numbers}
        convert = arrow_csv.ConvertOptions(
            column_types=types, include_columns=list(columns), null_values=list(MISSING), strings_can_be_null=False,
            quoted_strings_can_be_null=False,
        )  # fmt: skip
        try:
            return arrow_csv.open_csv(
                stream, arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK),
                arrow_csv.ParseOptions(delimiter=self._separator), convert,
            )  # fmt: skip
        except pa.ArrowInvalid as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> InputError:
        """What is wrong with a line, in our words where Arrow's are known."""
        text = said(error)[:LONGEST]
        if "straddling" in text:
            return InputError(f"{self.name}: expected lines of at most {BLOCK:,} bytes, found a longer one: is a quotation mark left open?")
        if "newlines_in_values" in text:
            return InputError(
                f"{self.name}: expected each row in a line, found cells that seem to hold line breaks; a .parquet or .jsonl file holds them"
            )
        what = "the types of columns that no model reads are told by the first lines" if "conversion error" in text else ""
        advice = f"; {what}: name the column in --columns or leave it out of --keep" if what and not self._known(text) else ""
        return InputError(f"{self.name}: cannot be read as CSV: {text}{advice}")

    def _known(self, text: str) -> bool:
        """Is a message about a column that the model reads?"""
        return any(f"'{name}'" in text or f"#{self.names.index(name)}:" in text for name in self._numbers if name in self.names)


class CsvSink(Joined, Sink):
    """CSV with a line of names, in UTF-8; lists of one length become a column for each place."""

    def __init__(self, stream: BinaryIO, name: str, *, first: bool = True):
        super().__init__(stream, name, first=first)
        self._writer: Any = None

    def write(self, batch: Batch) -> None:
        """See Sink."""
        found = flat(as_record_batch(batch), self.name)
        if self._writer is None:
            if self.first:  # Arrow puts names into quotation marks, needed or not
                self.stream.write(_line(found.schema.names))
            options = arrow_csv.WriteOptions(include_header=False, quoting_style="none")
            self._writer = arrow_csv.CSVWriter(self.stream, found.schema, write_options=options)
        if not found.num_rows:
            return
        if any(_needs_marks(column) for column in found.columns):  # Arrow would put every text into quotation marks
            cells = [column.cast(pa.string()).to_pylist() for column in found.columns]
            self.stream.write(b"".join(map(_line, zip(*cells, strict=True))))
        else:
            self._writer.write_batch(found)

    def close(self) -> None:
        """See Sink."""
        if self._writer is not None:
            self._writer.close()


def _needs_marks(column: Any) -> bool:
    """Does a text hold what separates cells?"""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or str(column.type) == "string_view"):
        return not pa.types.is_primitive(column.type)
    return bool(pc.any(pc.match_substring_regex(column, '[",\r\n]')).as_py())


def _line(cells: Sequence[str | None]) -> bytes:
    """A line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")
