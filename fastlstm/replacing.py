"""Writes files: beside the target, flushed to disk, then renamed onto it.

Whatever fails on the way (a full disk, Ctrl-C, memory that runs out), what stood there before stands there still. What
is no regular file, a device or a pipe, has no content that could be lost and is never replaced: it is written to as it is.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, NamedTuple

from .errors import InputError

LINKS = 40  # that may follow each other, as in Linux
#: The folders in which a process finds its own open files: /dev/stdout leads there.
OPEN_FILES = ("/proc/", "/dev/fd")
STANDARD_OUTPUT = 1
#: What files are called while they are written, as a regular expression.
PARTIAL = r"\.fastlstm-[0-9a-f]{16}\.partial"
#: What says that a file system, or a device, has no sync of its own.
UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS)


def checked(target: Any, *sources: Any, name: str = "dst") -> str:
    """The path of a target; refused, before the work that would be in vain, if it cannot be written or is what is read.

    Parameters
    ----------
    target
        The file to write.
    sources
        What the work reads: paths, or open files; anything else is no file.
    name
        What the caller knows the target as.

    Raises
    ------
    InputError
        If it is no path, one of the sources by whatever name, a folder, below a folder that is not there, or write-protected.
    """
    try:
        path = os.fsdecode(target)
    except TypeError as error:
        raise InputError(f"{name}: expected a path, found {type(target).__name__}") from error
    if not path:
        raise InputError(f"{name}: expected a path, found an empty one")
    for source in sources:
        if _is_same(path, source):
            raise InputError(f"{path}: cannot be written: it is the file that is read ({source}); name another")
    _placed(path)
    return path


@contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file when the block ends; if it ends in an error the file stays as it was.

    Raises
    ------
    InputError
        If the file cannot be written, with the cause.
    """
    path = os.fspath(target)
    place = _placed(path)
    try:
        with _appended(place) if place.in_place else _replaced(place) as stream:
            yield stream
    except OSError as error:
        kept = "; the earlier file is left as it was" if place.earlier and not place.in_place else ""
        raise InputError(f"{path}: cannot be written ({error.strerror or error}){kept}") from error


def is_replaced(target: str | os.PathLike[str]) -> bool:
    """Whether a target becomes a new file: no device or pipe, which are written to as they are.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    return not _placed(os.fspath(target)).in_place


def move(source: str, target: str | os.PathLike[str]) -> None:
    """Let a file that is whole, and was written to disk, take the place of the target, which is on the same file system.

    Raises
    ------
    InputError
        If it cannot.
    """
    path = os.fspath(target)
    place = _placed(path)
    try:
        _take_place(source, place)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def is_standard_output(path: str) -> bool:
    """Whether a path leads to where standard output is collected, in a file or a pipe."""
    try:
        collected = os.fstat(STANDARD_OUTPUT)
        return os.path.samestat(os.stat(path), collected) and not stat.S_ISCHR(collected.st_mode)
    except (OSError, ValueError):
        return False


class _Place(NamedTuple):
    """Where the bytes for a target go."""

    path: str  # where its links end
    earlier: os.stat_result | None  # what is there
    in_place: bool  # no regular file, or one that somebody has open to collect what comes out


def _placed(path: str) -> _Place:
    """Where to write, if that is possible."""
    try:
        earlier = _found(path)
        end = _followed(path)
    except (OSError, ValueError) as error:  # ValueError: no path can be so
        raise InputError(f"{path}: cannot be written ({getattr(error, 'strerror', error)})") from error
    if (earlier is not None and stat.S_ISDIR(earlier.st_mode)) or not os.path.basename(end or path):
        raise InputError(f"{path}: cannot be written: it is a folder; name a file in it")
    if earlier is not None and (end is None or not stat.S_ISREG(earlier.st_mode)):
        return _Place(path, earlier, True)
    if end is None:
        raise InputError(f"{path}: cannot be written ({os.strerror(errno.ENOENT)})")
    if earlier is not None and not _may(end, os.W_OK):
        raise InputError(f"{path}: cannot be written: the file is write-protected")
    folder = os.path.dirname(end)
    if not os.path.isdir(folder):
        raise InputError(f"{path}: cannot be written: there is no folder {folder}; make it first")
    if not _may(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written: no file can be made in the folder {folder}")
    return _Place(end, earlier, False)


def _may(path: str, access: int) -> bool:
    return os.access(path, access, effective_ids=os.access in os.supports_effective_ids)


def _found(path: str) -> os.stat_result | None:
    """The file at the target, if there is one."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _followed(path: str) -> str | None:
    """Where the links of a path end; None if among the open files of a process."""
    for _ in range(LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        path = os.path.join(folder, name)
        if folder.startswith(OPEN_FILES):
            return None
        if not os.path.islink(path):
            return path
        path = os.path.join(folder, os.readlink(path))
    return None


def _is_same(path: str, source: Any) -> bool:
    """Are both one file, by whatever names and links? What is no file is not."""
    if not isinstance(source, (str, bytes, os.PathLike)):  # an open file; h5py's own have a filename
        source = getattr(source, "filename", None) or getattr(source, "name", None)
    try:
        return os.path.samefile(path, source)
    except (OSError, ValueError, TypeError):  # one of them is not there, or no path at all: the text of a JSON, for example
        return False


class _Bytes(io.RawIOBase):
    """Takes bytes only: as NumPy writes past an open file's own ``write``, and then cannot tell what failed."""

    def __init__(self, file: io.BufferedWriter, seekable: bool):
        self._file = file
        self._seekable = seekable

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if not self._seekable:
            raise io.UnsupportedOperation("seek")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        if not self._seekable:
            raise io.UnsupportedOperation("tell")
        return self._file.tell()


@contextmanager
def _appended(place: _Place) -> Iterator[Any]:
    """Writes to a device, a pipe, or a file that is open as standard output."""
    regular = place.earlier is not None and stat.S_ISREG(place.earlier.st_mode)
    flags = os.O_WRONLY | (os.O_APPEND if regular else 0)

    def opener(path: str, _: int) -> int:
        return os.dup(STANDARD_OUTPUT) if is_standard_output(path) else os.open(path, flags)

    with open(place.path, "wb", opener=opener) as file:
        yield _Bytes(file, False)
        file.flush()
        _sync(file.fileno())


@contextmanager
def _replaced(place: _Place) -> Iterator[Any]:
    """Writes a file of its own, which takes the other's place once it is whole."""
    folder = os.path.dirname(place.path)
    partial = os.path.join(folder, f".fastlstm-{secrets.token_hex(8)}.partial")
    mode = 0o666 if place.earlier is None else 0o600  # nobody reads a private file meanwhile; the umask does the rest
    try:
        with open(partial, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            yield _Bytes(file, True)
            file.flush()
            _sync(file.fileno())
        _take_place(partial, place)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def _take_place(partial: str, place: _Place) -> None:
    """Rename a file that is on the disk."""
    if place.earlier is not None:
        _resemble(partial, place.earlier)
    os.replace(partial, place.path)
    with suppress(OSError):  # the file is replaced already; not every platform opens folders
        _sync_folder(os.path.dirname(place.path))


def _resemble(path: str, earlier: os.stat_result) -> None:
    """Give a file the owner, as far as this user may, and the permissions of the one that it replaces."""
    if hasattr(os, "chown"):
        with suppress(PermissionError):
            os.chown(path, earlier.st_uid, earlier.st_gid)
    with suppress(PermissionError):  # file systems without permissions say so
        os.chmod(path, stat.S_IMODE(earlier.st_mode))


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
