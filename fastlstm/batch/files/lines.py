"""What files of lines share: as sources their stream, as sinks that several are one when their bytes stand one after another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import BinaryIO

from ...errors import InputError
from .base import Source
from .piped import Counted, counted

#: Bytes that are copied at once.
CHUNK = 1 << 20
#: The longest line that is read.
LONGEST_LINE = 64 << 20


class Lines(Source):
    """A source of lines, from a file or through a pipe.

    Parameters
    ----------
    stream
        The bytes.
    name
        As messages call it.
    path
        The file; None: a pipe, that can be read once.
    """

    def __init__(self, stream: Counted, name: str, path: str | None):
        self.name, self.stream, self.restarts = name, stream, path is not None
        self._path = path
        self._size = None if path is None else os.stat(path).st_size

    def begin(self) -> None:
        """From the first line on, where some were read already."""
        if self.stream.read_bytes and self._path is not None:
            self.stream.close()
            self.stream = counted(self._path)

    def check_line(self, length: int) -> None:
        """Refuse a line that is too long: what is read at once is bounded.

        Raises
        ------
        InputError
            If it is.
        """
        if length >= LONGEST_LINE:
            raise InputError(f"{self.name}: expected lines of at most {LONGEST_LINE >> 20} MB, found a longer one")

    def fraction(self) -> float | None:
        """See Source."""
        return None if not self._size else min(1.0, self.stream.read_bytes / self._size)

    def close(self) -> None:
        """See Source."""
        self.stream.close()


class Joined:
    """A sink whose parts are joined as they are: only the first has a heading."""

    @staticmethod
    def merge(parts: Sequence[str], stream: BinaryIO, name: str) -> None:
        """One file of several.

        Parameters
        ----------
        parts
            Their paths, in order.
        stream
            Where the file goes.
        name
            As messages call it.
        """
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, stream, CHUNK)
