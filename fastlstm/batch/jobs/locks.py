"""Files that one process at a time holds; whoever dies lets go of them."""

from __future__ import annotations

import os
import sys
from typing import IO


class Lock:
    """A file that is held.

    Parameters
    ----------
    path
        The file; made if it is not there, and left there: who deletes it could meet another who just opened it.
    """

    def __init__(self, path: str):
        self.path = path
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Take it, unless another has it."""
        while True:
            file = open(self.path, "ab")  # noqa: SIM115 - as long as it is held
            try:
                _lock(file)
                if _is_there(file, self.path):
                    self._file = file
                    return True
            except OSError:
                file.close()
                return False
            file.close()  # who had it has deleted it with its folder

    def release(self) -> None:
        """Let go of it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _is_there(file: IO[bytes], path: str) -> bool:
    """Is an open file the one that stands at a path?"""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(0, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
