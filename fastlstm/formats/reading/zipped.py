"""Guarded zip archives: what a member declares is checked before it is unpacked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from ...errors import FormatError
from ...limits import TEXT, Budget
from ..source import Source

MEMBERS = 10_000
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: A member may be larger than what it is packed into, but not beyond reason.
EXPANSION = 100
FREE = 64 << 20
#: The exceptions that zipfile raises on damaged archives.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, KeyError)


@contextmanager
def opened(source: Source, kind: str) -> Iterator[zipfile.ZipFile]:
    """An archive."""
    try:
        archive = zipfile.ZipFile(source.path if source.path is not None else source.open())
    except ZIP_ERRORS as error:
        raise FormatError(f"{source.name}: damaged or truncated {kind} ({error})") from error
    with archive:
        yield archive


def directory(archive: zipfile.ZipFile, path: str) -> dict[str, zipfile.ZipInfo]:
    """The members by name, each of which must be there once."""
    infos = archive.infolist()
    if len(infos) > MEMBERS:
        raise FormatError(f"{path}: {len(infos)} members, more than a .keras file has")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if info.filename in found:
            raise FormatError(f"{path}: {info.filename} is in the archive twice")
        found[info.filename] = info
    return found


def require(members: Mapping[str, zipfile.ZipInfo], names: Iterable[str], path: str) -> None:
    """Refuse an archive that lacks a member."""
    for name in names:
        if name not in members:
            raise FormatError(f"{path}: a zip file without {name}: no .keras model")


def text(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Source, budget: Budget) -> str:
    """A member of text."""
    if info.file_size > TEXT:
        raise FormatError(f"{source.name}: {info.filename} declares {info.file_size} bytes, more than {TEXT}")
    try:
        return member(archive, info, source, budget).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{source.name}: {info.filename} is not UTF-8 text") from error


def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Source, budget: Budget) -> bytes:
    """A member's bytes, its declared size checked before it is unpacked."""
    if info.compress_type not in PACKINGS:
        raise FormatError(f"{source.name}: {info.filename} is packed in another way than zip files of Keras are")
    path, packed = source.name, min(info.compress_size, source.size)
    if info.file_size > max(FREE, EXPANSION * packed):
        raise FormatError(f"{path}: {info.filename} declares {info.file_size} bytes, packed into {packed}")
    budget.hold(info.filename, info.file_size)
    try:
        with archive.open(info) as stream:
            data = stream.read(info.file_size + 1)
    except ZIP_ERRORS as error:
        raise FormatError(f"{path}: {info.filename} is damaged ({error})") from error
    if len(data) != info.file_size:
        raise FormatError(f"{path}: {info.filename} is not of the size that it declares")
    return data
