"""Inputs to begin with, from the small models of many generations in tests/corpus/recorded: ``python tools/fuzz.py --seeds FOLDER``."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

import fastlstm

from . import recipes

RECORDED = Path(__file__).parents[2] / "corpus" / "recorded"
DROPPED = ("_initializer", "_regularizer", "_constraint", "compile_config", "optimizer")


def pruned(value: Any) -> Any:
    """JSON without what means nothing at inference, which would only be altered in vain."""
    if isinstance(value, dict):
        return {key: pruned(inner) for key, inner in value.items() if not key.endswith(DROPPED)}
    return [pruned(inner) for inner in value] if isinstance(value, list) else value


def of_file(path: Path) -> Iterator[tuple[str, Any]]:
    """(target, recipe) of a model file."""
    if path.suffix == ".keras":
        yield "keras", recipes.of_keras(path.read_bytes())
        return
    with h5py.File(path, "r") as file:
        recipe = recipes.of_group(file)
    if "model_config" not in recipe["attrs"]:
        described = path.with_name(path.name.split("_weights")[0].split(".")[0] + ".json")
        yield "architecture", {"architecture": json.loads(described.read_text()), "weights": recipe, "by_name": False}
        return
    yield "hdf5", recipe
    yield "json", recipe["attrs"]["model_config"]
    weights = recipe["members"].get("model_weights")
    if weights is not None:
        yield "architecture", {"architecture": recipe["attrs"]["model_config"], "weights": weights, "by_name": True}
    with tempfile.TemporaryDirectory() as folder:
        fastlstm.convert(path, Path(folder, "m.fastlstm"))
        yield "own", recipes.of_own(Path(folder, "m.fastlstm").read_bytes())


def write(folder: Path) -> None:
    """One file for each seed, in a folder for each target."""
    with tempfile.TemporaryDirectory() as unpacked:
        for archive in sorted(RECORDED.glob("*.tar.xz")):
            with tarfile.open(archive) as packed:
                packed.extractall(unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        for path in sorted(Path(unpacked).rglob("*")):
            if path.suffix in (".h5", ".keras"):
                for target, recipe in of_file(path):
                    data = json.dumps(pruned(recipe), separators=(",", ":")).encode()
                    (folder / target).mkdir(parents=True, exist_ok=True)
                    (folder / target / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)
