"""Texts, one a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...errors import InputError
from .base import Batch, Reading, bounded
from .lines import Lines
from .piped import Counted

#: Bytes of lines that are taken at once.
BLOCK = 1 << 20


class TextSource(Lines):
    """Text in UTF-8, of which each line is a row; an empty line is an empty text.

    Parameters
    ----------
    stream
        The bytes.
    name
        As messages call it.
    reading
        The name of the input.
    path
        The file; None: a pipe, that can be read once.
    """

    def __init__(self, stream: Counted, name: str, reading: Reading, path: str | None = None):
        super().__init__(stream, name, path)
        self.names = reading.inputs[:1]

    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """See Source."""
        return bounded(self._read(), rows, start)

    def _read(self) -> Iterator[Batch]:
        self.begin()
        line, rest = 1, b""
        while data := self.stream.read(BLOCK):
            self.check_line(len(rest))
            whole, mark, rest = (rest + data).rpartition(b"\n")
            if mark:
                yield self._batch(whole, line)
                line += whole.count(b"\n") + 1
        if rest:
            yield self._batch(rest, line)
        elif line == 1:
            raise InputError(f"{self.name}: expected a text a line, found an empty file")

    def _batch(self, block: bytes, line: int) -> Batch:
        try:
            text = block.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            where = line + block.count(b"\n", 0, error.start)
            raise InputError(f"{self.name}: expected text in UTF-8, found other bytes in line {where}: {error.reason}") from error
        return {self.names[0]: np.array([one.removesuffix("\r") for one in text.split("\n")], dtype=object)}
