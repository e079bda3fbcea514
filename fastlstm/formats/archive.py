"""``.keras`` files: a zip of the model's config, its metadata, and its weights as HDF5. And weights in parts, gathered into a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from ..errors import FormatError, InputError, WeightsAloneError
from ..limits import Budget
from ..spec import ModelSpec
from . import saved_model, several
from .h5 import advice
from .inferring.inventory import inventory
from .inferring.listed import LISTED_OWN, Inventory
from .reading import hdf5
from .reading.architecture import load_architecture
from .reading.compiled import compiled
from .reading.config import Reader
from .reading.dialect import dialect
from .reading.jsontext import parse_json
from .reading.tree import VOCABULARY, fill
from .reading.weights import finish
from .reading.zipped import directory, member, opened, require, text
from .several import ASSETS, CONFIG, INDEX, METADATA, WEIGHTS
from .source import Source


def sniff(head: bytes, name: str) -> bool:
    """Whether a file that begins so is a zip archive."""
    return head.startswith(b"PK\x03\x04")


def read(source: Source, budget: Budget, *, architecture: Any = None, by_name: bool = False) -> ModelSpec:
    """The model of a ``.keras`` file."""
    path = source.name
    with opened(source, ".keras file") as archive:
        members = directory(archive, path)
        if saved_model.within(members) is not None:
            return saved_model.read(source, budget, architecture=architecture, by_name=by_name)
        if INDEX in members:
            return read_parts(archive, members, source, budget, architecture)
        if architecture is not None:
            raise InputError(f"architecture: {path} is a .keras {'folder' if source.origin else 'file'}, which holds its own")
        require(members, (CONFIG, WEIGHTS), path)
        entry = parse_json(text(archive, members[CONFIG], source, budget), budget, CONFIG)
        metadata = parse_json(text(archive, members[METADATA], source, budget), budget, METADATA) if METADATA in members else {}
        data = member(archive, members[WEIGHTS], source, budget)
        assets = {name: member(archive, info, source, budget) for name, info in members.items() if is_vocabulary(name)}
    if not isinstance(entry, Mapping):
        raise FormatError(f"{path}: {CONFIG}: expected an object with class_name and config, found {type(entry).__name__}")
    version = metadata.get("keras_version") if isinstance(metadata, Mapping) else None
    understood = dialect(version if isinstance(version, str) else None, None, entry, ".keras")
    model = Reader(budget, understood).root(entry)
    model.compiled = compiled(entry.get("compile_config"))
    with hdf5.opened(Source(f"{path}/{WEIGHTS}", data=data), budget) as root:
        fill(model, path, root, asset=lambda name: assets.get(ASSETS + name))
    return finish(model, understood, budget)


def is_vocabulary(name: str) -> bool:
    """Whether a member holds the terms of a lookup layer."""
    return name.startswith(ASSETS) and name.endswith("/" + VOCABULARY)


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
        archive = stack.enter_context(opened(source, "archive"))
        members = directory(archive, source.name)
        if INDEX not in members:
            raise FormatError(f"{source.name}: {LISTED_OWN}")
        return inventory(opened_parts(archive, members, source, budget, stack), budget)
