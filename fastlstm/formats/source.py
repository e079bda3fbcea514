"""The sources that a model is read from: a path, bytes, an open file, or an open h5py.File."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import field
from typing import Any, BinaryIO

from ..caching import Kept
from ..errors import FormatError, InputError
from ..limits import Budget
from ..records import record
from . import several

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
BYTES = (bytes, bytearray, memoryview)
EXPECTED = "a path, bytes, a file opened with 'rb', or an h5py.File"


@record(frozen=True)
class Source:
    """Where a model's bytes come from.

    Attributes
    ----------
    name
        For messages.
    path
        The file's path; None where there is no file.
    data
        All the bytes; None where ``path`` or ``handle`` has them.
    handle
        An h5py.File that the caller has opened and will close.
    files
        Of a model in several files: their paths, by the names that they have in the archive that they are gathered into.
    origin
        The path that was given, where ``data`` has been gathered from several files.
    kept
        Arrays of the file that are kept in another form.
    """

    name: str
    path: str | None = None
    data: bytes | None = None
    handle: Any = None
    files: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    kept: Kept | None = None

    @property
    def apart(self) -> bool:
        """Are its files read one by one where they lie? They are gathered for another process, and into what stands for all of them."""
        return next(iter(self.files), "") in several.APART

    def gathered(self, budget: Budget) -> Source:
        """Return the same source as one stream of bytes, if it was several files."""
        if not self.files:
            return self
        return Source(self.name, data=several.archive(self.files, self.name, budget), origin=self.path)

    def open(self) -> BinaryIO:
        """A stream of the bytes, from the first one."""
        if self.files:
            return self.gathered(Budget(self.name, self.size)).open()
        if self.path is None:
            return io.BytesIO(self.data or b"")
        try:
            return open(self.path, "rb")
        except (OSError, ValueError) as error:  # ValueError: not a possible path
            raise FormatError(f"{self.name}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error

    @property
    def size(self) -> int:
        """The number of bytes; 0 if there is nothing."""
        if self.handle is not None:
            return int(self.handle.id.get_filesize())
        if self.path is None:
            return len(self.data or b"")
        if self.files:
            return sum(several.size_of(path, self.name) for path in self.files.values())
        try:
            return os.stat(self.path).st_size
        except (OSError, ValueError):  # ValueError: not a possible path
            return 0


def source_of(given: Any) -> Source:
    """The source that a caller's argument stands for.

    Raises
    ------
    InputError
        If it cannot be read from.
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, (str, os.PathLike)):
        path = os.fsdecode(given)
        if not path:
            raise InputError(f"path: expected {EXPECTED}, found an empty path")
        if URL.match(path):
            raise InputError(f"path: expected {EXPECTED}, found the URL {path}, which is never fetched; download the file first")
        return Source(path, path=path, files=several.files_of(path))
    if isinstance(given, BYTES):
        return Source(f"<{len(bytes(given))} bytes>", data=bytes(given))
    h5py = sys.modules.get("h5py")  # whoever has such a file has imported it
    if h5py is not None and isinstance(given, h5py.File):
        if not given:
            raise InputError(f"path: expected {EXPECTED}, found an h5py.File that is closed")
        return Source(os.fsdecode(given.filename), handle=given)
    if callable(getattr(given, "read", None)):
        return Source(_name(given), data=_content(given))
    raise InputError(f"path: expected {EXPECTED}, found {type(given).__name__}")


def _name(stream: Any) -> str:
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else f"<{type(stream).__name__}>"


def _content(stream: Any) -> bytes:
    """Everything in an open file, wherever its position is; the position is restored afterwards."""
    try:
        place = stream.tell() if stream.seekable() else None
        if place is not None:
            stream.seek(0)
        data = stream.read()
        if place is not None:
            stream.seek(place)
    except UnicodeDecodeError:
        data = ""
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"path: expected {EXPECTED}, found {_name(stream)}, which cannot be read ({error})") from error
    if not isinstance(data, BYTES):
        raise InputError(f"path: expected {EXPECTED}, found {_name(stream)}, which gives text; open it with 'rb'")
    return bytes(data)
