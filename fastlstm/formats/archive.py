"""``.keras`` files: a zip of the model's config, its metadata, and its weights as HDF5. And weights in parts, gathered into a zip."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from ..errors import FormatError, InputError
from ..limits import TEXT, Budget
from ..spec import ModelSpec
from . import several
from .reading import hdf5
from .reading.architecture import load_architecture
from .reading.compiled import compiled
from .reading.config import Reader
from .reading.dialect import dialect
from .reading.jsontext import parse_json
from .reading.tree import fill
from .reading.weights import finish
from .several import CONFIG, INDEX, METADATA, WEIGHTS
from .source import Source

MEMBERS = 10_000
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: A member may be larger than what it is packed into, but not beyond reason.
EXPANSION = 100
FREE = 64 << 20
#: The exceptions that zipfile raises on damaged archives.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, KeyError)


def sniff(head: bytes, name: str) -> bool:
    """Whether a file that begins so is a zip archive."""
    return head.startswith(b"PK\x03\x04")


def read(source: Source, budget: Budget, *, architecture: Any = None, by_name: bool = False) -> ModelSpec:
    """The model of a ``.keras`` file."""
    path = source.name
    try:
        archive = zipfile.ZipFile(source.path if source.path is not None else source.open())
    except ZIP_ERRORS as error:
        raise FormatError(f"{path}: damaged or truncated .keras file ({error})") from error
    with archive:
        members = directory(archive, path)
        if INDEX in members:
            return read_parts(archive, members, source, budget, architecture)
        if architecture is not None:
            raise InputError(f"architecture: {path} is a .keras {'folder' if source.origin else 'file'}, which holds its own")
        require(members, (CONFIG, WEIGHTS), path)
        entry = parse_json(text(archive, members[CONFIG], source, budget), budget, CONFIG)
        metadata = parse_json(text(archive, members[METADATA], source, budget), budget, METADATA) if METADATA in members else {}
        data = member(archive, members[WEIGHTS], source, budget)
    if not isinstance(entry, Mapping):
        raise FormatError(f"{path}: {CONFIG}: expected an object with class_name and config, found {type(entry).__name__}")
    version = metadata.get("keras_version") if isinstance(metadata, Mapping) else None
    understood = dialect(version if isinstance(version, str) else None, None, entry, ".keras")
    model = Reader(budget, understood).root(entry)
    model.compiled = compiled(entry.get("compile_config"))
    with hdf5.opened(Source(f"{path}/{WEIGHTS}", data=data), budget) as root:
        fill(model, path, root)
    return finish(model, understood, budget)


def read_parts(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], source: Source, budget: Budget, architecture: Any
) -> ModelSpec:  # fmt: skip
    """The model of an architecture, its weights in parts."""
    path = source.name
    if architecture is None:
        raise FormatError(f"{path}: weights in parts, without the model; pass architecture= (the JSON of model.to_json(), or a path to it)")
    entry = load_architecture(architecture, budget)
    if not isinstance(entry, Mapping):
        raise FormatError(f"{path}: architecture: expected an object with class_name and config, found {type(entry).__name__}")
    version = entry.get("keras_version")
    understood = dialect(version if isinstance(version, str) else None, None, entry, "HDF5 weights in parts + architecture")
    if understood.keras1:
        raise FormatError(f"{path}: weights in parts, as Keras 3 writes them, and an architecture of Keras {version or 1}")
    model = Reader(budget, understood).root(entry)
    names = several.parts(text(archive, members[INDEX], source, budget), path, budget)
    require(members, names, path)
    with ExitStack() as stack:
        data = ((name, member(archive, members[name], source, budget)) for name in names)
        roots = [stack.enter_context(hdf5.opened(Source(f"{path}/{name}", data=part), budget)) for name, part in data]
        fill(model, path, *roots)
    return finish(model, understood, budget)


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
