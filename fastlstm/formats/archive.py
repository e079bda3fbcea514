"""``.keras`` files: a zip of the model's config, its metadata, and its weights as HDF5. And weights in parts, gathered into a zip."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from ..errors import FormatError, InputError, WeightsAloneError
from ..limits import TEXT, Budget
from ..spec import ModelSpec
from . import several
from .h5 import LISTED_OWN, advice
from .inferring.inventory import inventory
from .inferring.listed import Inventory
from .reading import hdf5
from .reading.architecture import load_architecture
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
    with opened(source) as archive:
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
    with hdf5.opened(Source(f"{path}/{WEIGHTS}", data=data), budget) as root:
        fill(model, path, root)
    return finish(model, understood, budget)


def read_parts(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], source: Source, budget: Budget, architecture: Any
) -> ModelSpec:  # fmt: skip
    """The model of an architecture, its weights in parts."""
    path = source.name
    if architecture is None:
        raise WeightsAloneError(f"{path}: weights in parts, without the model; {advice(path)}")
    entry = load_architecture(architecture, budget)
    if not isinstance(entry, Mapping):
        raise FormatError(f"{path}: architecture: expected an object with class_name and config, found {type(entry).__name__}")
    version = entry.get("keras_version")
    understood = dialect(version if isinstance(version, str) else None, None, entry, "HDF5 weights in parts + architecture")
    if understood.keras1:
        raise FormatError(f"{path}: weights in parts, as Keras 3 writes them, and an architecture of Keras {version or 1}")
    model = Reader(budget, understood).root(entry)
    with ExitStack() as stack:
        fill(model, path, *opened_parts(archive, members, source, budget, stack))
    return finish(model, understood, budget)


def opened_parts(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], source: Source, budget: Budget, stack: ExitStack
) -> list[hdf5.Group]:  # fmt: skip
    """The parts of a model's weights, which ``stack`` closes."""
    names = several.parts(text(archive, members[INDEX], source, budget), source.name, budget)
    require(members, names, source.name)
    data = ((name, member(archive, members[name], source, budget)) for name in names)
    return [stack.enter_context(hdf5.opened(Source(f"{source.name}/{name}", data=part), budget)) for name, part in data]


def listed(source: Source, budget: Budget) -> Inventory:
    """The layers and arrays of weights in parts."""
    with ExitStack() as stack:
        archive = stack.enter_context(opened(source))
        members = directory(archive, source.name)
        if INDEX not in members:
            raise FormatError(f"{source.name}: {LISTED_OWN}")
        return inventory(opened_parts(archive, members, source, budget, stack), budget)


def opened(source: Source) -> zipfile.ZipFile:
    """The archive of a file."""
    try:
        return zipfile.ZipFile(source.path if source.path is not None else source.open())
    except ZIP_ERRORS as error:
        raise FormatError(f"{source.name}: damaged or truncated .keras file ({error})") from error


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
