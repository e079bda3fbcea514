"""JSON lines: an object a line, a block of lines at a time."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from ... import lazy
from ...errors import InputError
from .base import Batch, Reading, Sink, bounded, guarded, said, understood
from .lines import LONGEST_LINE, Joined, Lines
from .piped import HEAD, Counted
from .tables import as_record_batch

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import json as arrow_json
else:
    pa, arrow_json = map(lazy.module, ("pyarrow", "pyarrow.json"))

KIND = "JSON lines"
#: Bytes of lines that are parsed at once.
BLOCK = 1 << 20


class JsonLinesSource(Lines):
    """JSON lines. Types are told by the first block; what the model computes with may be whole numbers there and others later.

    Parameters
    ----------
    stream
        The bytes.
    name
        As messages call it.
    reading
        Nothing of it matters here.
    path
        The file; None: a pipe, that can be read once.

    Raises
    ------
    InputError
        If its first lines are none.
    """

    def __init__(self, stream: Counted, name: str, reading: Reading, path: str | None = None):
        super().__init__(stream, name, path)
        with understood(name, KIND):
            head = stream.look()
            while len(head) >= HEAD and b"\n" not in head and len(head) < LONGEST_LINE:
                head = stream.look(2 * len(head))
        whole = head[: head.rfind(b"\n") + 1] or head
        if not whole.strip():
            raise InputError(f"{name}: expected an object of JSON in each line, found an empty file")
        self.schema = self._parsed(whole, 1, None).schema
        self.names = tuple(self.schema.names)

    def typed(self, numbers: Sequence[str], texts: Sequence[str]) -> None:
        """See Source."""
        assert self.schema is not None
        self.schema = pa.schema([pa.field(one.name, self._widened(one.type) if one.name in numbers else one.type) for one in self.schema])

    def _widened(self, kind: Any) -> Any:
        """Whole numbers become floats, also inside lists."""
        if pa.types.is_list(kind):
            return pa.list_(self._widened(kind.value_type))
        return pa.float64() if pa.types.is_integer(kind) or pa.types.is_null(kind) else kind

    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """See Source."""
        return bounded(guarded(self._read(columns), self.name, KIND), rows, start)

    def _read(self, columns: Sequence[str]) -> Iterator[Batch]:
        assert self.schema is not None
        schema = pa.schema([self.schema.field(name) for name in columns])
        self.begin()
        line, buffered = 1, io.BufferedReader(self.stream, 1 << 16)
        while block := buffered.read(BLOCK):
            block += buffered.readline(LONGEST_LINE)
            self.check_line(len(block))
            if block.strip():
                yield from self._parsed(block, line, schema).select(list(columns)).to_batches()
            line += block.count(b"\n")
        yield pa.RecordBatch.from_pylist([], schema=schema)

    def _parsed(self, block: bytes, line: int, schema: Any) -> Any:
        options = None if schema is None else arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        read = arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
        try:
            return arrow_json.read_json(io.BytesIO(block), read, options)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{self.name}: cannot be read as JSON lines: {self._place(block, line)}{said(error)}") from error

    def _place(self, block: bytes, line: int) -> str:
        """The first line that is no object, where that is the reason."""
        for number, text in enumerate(block.split(b"\n"), start=line):
            if text.strip():
                try:
                    if not isinstance(json.loads(text), dict):
                        return f"line {number} is no object: "
                except ValueError:
                    return f"line {number}: "
        return f"lines {line} to {line + block.count(10) - 1}: "


class JsonLinesSink(Joined, Sink):
    """An object a line; NaN, which JSON does not have, becomes null, and so do infinities."""

    def __init__(self, stream: BinaryIO, name: str, *, first: bool = True):
        super().__init__(stream, name, first=first)

    def write(self, batch: Batch) -> None:
        """See Sink."""
        found = as_record_batch(batch)
        lines = []
        for row in found.to_pylist():
            try:
                text = json.dumps(row, allow_nan=False, ensure_ascii=False, default=_shown)
            except ValueError:
                text = json.dumps(_finite(row), ensure_ascii=False, default=_shown)
            lines.append(text + "\n")
        self.stream.write("".join(lines).encode("utf-8", "backslashreplace"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value


def _shown(value: Any) -> str:
    """Dates, decimals and bytes, which JSON does not have."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
