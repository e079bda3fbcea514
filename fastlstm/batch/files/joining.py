"""Files of lines: several are one when their bytes stand one after another."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import BinaryIO

#: Bytes that are copied at once.
CHUNK = 1 << 20


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
