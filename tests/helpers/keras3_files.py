"""Files in the layouts of Keras 3, written without it: ``.keras``, folders, weights in parts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

#: The arrays of each group of a tree, by its place: {"layers/dense/vars": [kernel, bias]}.
Tree = Mapping[str, Sequence[np.ndarray]]
POLICY = {"module": "keras.dtype_policies", "class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    """A layer as Keras 3 writes it."""
    config = {"name": name, "trainable": True, "dtype": "float32", **config}
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}


def chain(shape: Sequence[int | None], *layers: dict[str, Any], dtype: str = "float32") -> dict[str, Any]:
    """A Sequential as Keras 3 writes it."""
    entrance = {"class_name": "InputLayer", "config": {"batch_shape": list(shape), "dtype": dtype, "name": "input_layer"}}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "trainable": True, "layers": [entrance, *layers]},
    }


def tree(path: Path | io.BytesIO, arrays: Tree) -> None:
    """A ``.weights.h5``."""
    with h5py.File(path, "w") as file:
        for place, values in arrays.items():
            for number, value in enumerate(values):
                file[f"{place}/{number}"] = value


def folder(path: Path, config: Any, arrays: Tree, version: str = "3.15.1") -> Path:
    """The folder of ``model.save(path, zipped=False)``."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "metadata.json").write_text(json.dumps({"keras_version": version}))
    tree(path / "model.weights.h5", arrays)
    return path


def zipped(path: Path, config: Any, arrays: Tree, version: str = "3.15.1") -> Path:
    """A ``.keras`` file."""
    weights = io.BytesIO()
    tree(weights, arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def in_parts(path: Path, *parts: Mapping[str, Mapping[str, np.ndarray]]) -> Path:
    """An index of weights and its parts, each of which has some arrays by their numbers: {"layers/dense/vars": {"0": kernel}}."""
    stem = path.name.removesuffix(".weights.json")
    places: dict[str, list[str]] = {}
    for number, part in enumerate(parts):
        name = f"{stem}_{number:05}.weights.h5"
        with h5py.File(path.with_name(name), "w") as file:
            for place, values in part.items():
                places.setdefault(f"/{place}", []).append(name)
                for key, value in values.items():
                    file[f"{place}/{key}"] = value
    index = {place: names[0] if len(names) == 1 else names for place, names in places.items()}
    path.write_text(json.dumps({"metadata": {"total_size": 1.0}, "weight_map": index}, indent=4))
    return path
