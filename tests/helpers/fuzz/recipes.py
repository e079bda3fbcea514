"""Model files as recipes: JSON that says what stands in a file, to be altered where bytes alone would never get past a parser.

An HDF5 group is ``{"attrs": {NAME: VALUE}, "members": {NAME: MEMBER}}``, a member another group, ``{"link": KIND, "to": PLACE}``, or
an array ``{"shape": [...], "dtype": ...}``, whose numbers do not matter. Objects and lists among attributes are JSON texts.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

#: Elements of an array that are written; larger ones are declared at most.
MOST = 1 << 16
NUMBERS = np.random.default_rng(0).normal(size=1024) * 0.3
TEXTS = frozenset({"model_config", "training_config"})


class Unmakeable(Exception):  # noqa: N818
    """No file can be made of that recipe."""


def array(entry: Mapping[str, Any]) -> np.ndarray:
    """Numbers for an array's entry."""
    shape = tuple(entry["shape"])
    if any(not isinstance(size, int) or size < 0 for size in shape) or math.prod(shape) > MOST:
        raise Unmakeable
    numbers = np.resize(NUMBERS, shape) * entry.get("scale", 1.0)
    return (numbers if "f" in str(entry["dtype"]) else np.abs(numbers * 10)).astype(entry["dtype"])


# -- HDF5 ---------------------------------------------------------------------------------------------------------------------


def hdf5(recipe: Mapping[str, Any]) -> bytes:
    """The file of a recipe."""
    with h5py.File("recipe", "w", driver="core", backing_store=False, block_size=1 << 12) as file:
        write_group(file, recipe)
        file.flush()
        return file.id.get_file_image()


def write_group(group: h5py.Group, recipe: Mapping[str, Any]) -> None:
    for name, value in recipe.get("attrs", {}).items():
        group.attrs[name] = attribute(value)
    for name, member in recipe.get("members", {}).items():
        if "link" in member:
            kinds = {"soft": h5py.SoftLink, "external": lambda place: h5py.ExternalLink("other.h5", place), "hard": group.file.get}
            group[name] = kinds[member["link"]](member["to"])
        elif "shape" not in member:
            write_group(group.create_group(name), member)
        else:
            options = {key: member[key] for key in ("chunks", "compression", "shuffle", "maxshape") if key in member}
            if member.get("empty"):
                group.create_dataset(name, tuple(member["shape"]), member["dtype"], **options)
            else:
                group.create_dataset(name, data=array(member), **options)


def attribute(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"text"}:  # of variable length
        return value["text"]
    if isinstance(value, Mapping) and "shape" in value and "dtype" in value:
        return array(value)
    if isinstance(value, str):
        return np.bytes_(value.encode())
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return np.array([item.encode() for item in value]) if value else np.zeros(0)
    return json.dumps(value).encode() if isinstance(value, (Mapping, list)) else value


def of_group(group: h5py.Group) -> dict[str, Any]:
    """The recipe of a group."""
    attrs = {name: of_attribute(name, value) for name, value in group.attrs.items()}
    members = {
        name: of_group(item) if isinstance(item, h5py.Group) else {"shape": list(item.shape), "dtype": item.dtype.str}
        for name, item in group.items()
        if name != "optimizer_weights"
    }
    return {"attrs": {name: value for name, value in attrs.items() if name != "training_config"}, "members": members}


def of_attribute(name: str, value: Any) -> Any:
    text = value.decode() if isinstance(value, bytes) else value
    if isinstance(text, str):
        return json.loads(text) if name in TEXTS else text if isinstance(value, bytes) else {"text": text}
    if isinstance(value, np.ndarray):
        texts = [item.decode() if isinstance(item, bytes) else item for item in value.ravel().tolist()]
        return texts if all(isinstance(item, str) for item in texts) else {"shape": list(value.shape), "dtype": value.dtype.str}
    return value.item()


# -- the others ---------------------------------------------------------------------------------------------------------------


def own(recipe: Mapping[str, Any]) -> bytes:
    """A ``.fastlstm`` file: ``{"header": ..., "tensors": {NAME: ARRAY}}``."""
    from safetensors.numpy import save

    return save({name: array(entry) for name, entry in recipe["tensors"].items()}, {"fastlstm": json.dumps(recipe["header"])})


def of_own(data: bytes) -> dict[str, Any]:
    """The recipe of a ``.fastlstm`` file."""
    from safetensors.numpy import load

    size = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["fastlstm"])
    tensors = {name: {"shape": list(values.shape), "dtype": values.dtype.str} for name, values in load(data).items()}
    return {"header": {**header, "sha256": {}}, "tensors": tensors}


def keras(recipe: Mapping[str, Any]) -> bytes:
    """A ``.keras`` file: ``{MEMBER: JSON or HDF5 group}``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in recipe.items():
            archive.writestr(zipfile.ZipInfo(name), hdf5(value) if name.endswith(".h5") else json.dumps(value))
    return buffer.getvalue()


def of_keras(data: bytes) -> dict[str, Any]:
    """The recipe of a ``.keras`` file."""
    recipe = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if name.endswith(".h5"):
                with h5py.File(io.BytesIO(archive.read(name)), "r") as file:
                    recipe[name] = of_group(file)
            else:
                recipe[name] = json.loads(archive.read(name))
    return recipe
