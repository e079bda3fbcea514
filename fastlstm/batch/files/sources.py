"""Opens what is read: a file of any kind, or standard input."""

from __future__ import annotations

import glob
import os
from typing import BinaryIO

from ...errors import InputError
from . import kinds
from .arrays import NpySource, NpzSource
from .base import Reading, Source, need, understood
from .piped import Counted, counted


def opened(path: str, kind: str, reading: Reading) -> Source:
    """A file's rows.

    Parameters
    ----------
    path
        The file.
    kind
        Of it: one of :data:`kinds.KINDS`.
    reading
        How it is read.

    Raises
    ------
    InputError
        If it cannot be read, is damaged, or what reads it is not installed.
    """
    if kind == "npy":
        return NpySource(path, reading)
    if kind == "npz":
        return NpzSource(path, reading)
    if kind == "txt":
        return lines(_file(path, kind), path, kind, reading, path)
    need("pyarrow", f"{path}: reading {kinds.CALLED[kind]}")
    if kind == "parquet":
        from .parquet import ParquetSource

        return ParquetSource(path, reading)
    if kind in ("arrow", "feather", "arrows"):
        from .arrow import ArrowSource

        return ArrowSource(path, reading)
    return lines(_file(path, kind), path, kind, reading, path)


def piped(stream: BinaryIO, name: str, kind: str | None, reading: Reading) -> Source:
    """The rows that come through a pipe.

    Parameters
    ----------
    stream
        Its bytes.
    name
        As messages call it.
    kind
        What they are; None: told by the first ones. What tells nothing is CSV.
    reading
        How it is read.

    Raises
    ------
    InputError
        If they are of a kind that is not read in one go, or damaged.
    """
    bytes_read = Counted(stream)
    if kind is None:
        with understood(name, "a stream"):
            kind = kinds.of_bytes(bytes_read.look(16), otherwise="csv")
    if kind not in kinds.PIPED_IN:
        said = ", ".join(kinds.CALLED[one] for one in kinds.PIPED_IN)
        raise InputError(f"{name}: expected {said}, found {kinds.CALLED[kind]}, which is not read in one go: write it to a file first")
    if kind == "arrows":
        from .arrow import StreamSource

        need("pyarrow", f"{name}: reading {kinds.CALLED[kind]}")
        return StreamSource(bytes_read, name)
    return lines(bytes_read, name, kind, reading, None)


def lines(stream: Counted, name: str, kind: str, reading: Reading, path: str | None) -> Source:
    """The rows of what has one a line."""
    if kind == "txt":
        from .textlines import TextSource

        return TextSource(stream, name, reading, path)
    need("pyarrow", f"{name}: reading {kinds.CALLED[kind]} by the names of its columns")
    if kind == "csv":
        from .csvtables import CsvSource

        return CsvSource(stream, name, reading, path)
    from .jsonlines import JsonLinesSource

    return JsonLinesSource(stream, name, reading, path)


def _file(path: str, kind: str) -> Counted:
    with understood(path, kinds.CALLED[kind]):
        return counted(path)


def files(path: str) -> list[str]:
    """The files that a folder or a pattern means, in the order of their names.

    Parameters
    ----------
    path
        A folder, of which all files of known kinds are meant, also those in folders in it; or a pattern with ``*``, ``?``, ``[...]``,
        ``**``. Names that begin with a dot or an underscore are left out: others keep their notes in such files.

    Raises
    ------
    InputError
        If there are none.
    """
    if os.path.isdir(path):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(path) if not hidden(folder, path) for name in names]
        found = [one for one in found if os.path.splitext(one)[1].lower() in kinds.ENDINGS]
    else:
        found = [one for one in glob.glob(path, recursive=True) if os.path.isfile(one)]
    found = sorted(one for one in found if not os.path.basename(one).startswith((".", "_")))
    if not found:
        raise InputError(f"{path}: expected files ending in {', '.join(kinds.ENDINGS)}, found none")
    return found


def hidden(folder: str, root: str) -> bool:
    """Is a folder below another one that keeps notes, or its own parts?"""
    names = os.path.relpath(folder, root).split(os.sep)
    return any(name.startswith((".", "_")) and name != "." for name in names)


def several(path: str) -> bool:
    """Does a path mean several files: a folder, or a pattern?"""
    return path != kinds.STANDARD and (os.path.isdir(path) or (glob.has_magic(path) and not os.path.exists(path)))
