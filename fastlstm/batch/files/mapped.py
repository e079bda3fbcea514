"""Files in memory as the system maps them; what was read of them is given back at once, so that it does not count."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Any

import numpy as np

from .base import understood


class Mapped:
    """A file, mapped for reading.

    Parameters
    ----------
    path
        The file.
    kind
        What it is read as, for messages.

    Attributes
    ----------
    memory : mmap.mmap or bytes
        Its bytes; an empty file cannot be mapped.
    """

    def __init__(self, path: str, kind: str):
        with understood(path, kind), open(path, "rb") as file:
            try:
                self.memory: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                self.memory = b""
        if isinstance(self.memory, mmap.mmap) and hasattr(self.memory, "madvise"):
            self.memory.madvise(mmap.MADV_SEQUENTIAL)

    def release(self) -> None:
        """Pages that were read no longer count as this process's: whoever reads them again gets them from the system's cache."""
        if isinstance(self.memory, mmap.mmap):
            give_back(self.memory)


def give_back(memory: mmap.mmap) -> None:
    """Let the system have the pages that were read."""
    if hasattr(memory, "madvise"):
        with suppress(OSError, ValueError):
            memory.madvise(mmap.MADV_DONTNEED)


def release(array: Any) -> None:
    """The same for an array that NumPy has mapped read-only; of others nothing."""
    if isinstance(array, np.memmap) and array.mode == "r":
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            give_back(base)
