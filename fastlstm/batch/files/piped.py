"""Bytes that come through a pipe, or from a file of text: their first ones can be looked at, and all are counted."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

#: Bytes that are looked at to tell what comes.
HEAD = 1 << 20


class Counted(io.RawIOBase):
    """A stream whose first bytes are known, and that says how much of it was read.

    Parameters
    ----------
    stream
        The bytes.

    Attributes
    ----------
    head : bytes
        The first ones; up to ``HEAD``, more at the end of a line of that length.
    read_bytes : int
        How many were read.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.head = b""
        self._place = 0
        self.read_bytes = 0

    def look(self, size: int = HEAD) -> bytes:
        """The first bytes, which are read again by who reads."""
        while len(self.head) < size:
            more = self._stream.read(size - len(self.head))
            if not more:
                break
            self.head += more
        return self.head

    def readable(self) -> bool:
        """See RawIOBase."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See RawIOBase."""
        room = len(buffer)
        if self._place < len(self.head):
            data = self.head[self._place : self._place + room]
            self._place += len(data)
        else:
            data = self._stream.read(room)
        buffer[: len(data)] = data
        self.read_bytes += len(data)
        return len(data)

    def close(self) -> None:
        """Close the stream too."""
        if not self.closed:
            self._stream.close()
        super().close()


def counted(path: str) -> Counted:
    """The bytes of a file."""
    return Counted(open(path, "rb"))
