"""Keras files written by hand, config and arrays apart, and what a spec holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fastlstm.spec import ModelSpec


def arrays(spec: ModelSpec) -> list[np.ndarray]:
    """Every array of a model, in order."""
    found = []

    def visit(layer: Any) -> None:
        found.extend(layer.weights)
        for child in [*layer.children, *(layer.model.layers if layer.model else ())]:
            visit(child)

    for layer in spec.layers:
        visit(layer)
    return found


def write_h5(path: Path, config: Any, groups: dict[str, list[np.ndarray]], version: str = "2.3.1", backend: str = "tensorflow") -> Path:
    """A Keras file of that config, with one group of arrays a layer."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = version, backend
        file.attrs["model_config"] = json.dumps(config)
        write_groups(file.create_group("model_weights"), groups)
    return path


def write_groups(group: h5py.Group, groups: dict[str, list[np.ndarray]]) -> None:
    group.attrs["layer_names"] = [name.encode() for name in groups]
    for name, values in groups.items():
        inner = group.create_group(name)
        inner.attrs["weight_names"] = [f"{name}/w{place}:0".encode() for place in range(len(values))]
        for place, value in enumerate(values):
            inner[f"{name}/w{place}:0"] = value


def layer(kind: str, name: str, nodes: Any = (), /, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "name": name, "config": {"name": name, "trainable": True, **config}, "inbound_nodes": list(nodes)}


def entrance(name: str, *shape: int | None) -> dict[str, Any]:
    return {"class_name": "InputLayer", "name": name, "config": {"name": name, "batch_input_shape": [None, *shape]}, "inbound_nodes": []}


def chain(*layers: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A Sequential of (class, config), in the form of Keras up to 2.2.2."""
    return {"class_name": "Sequential", "config": [{"class_name": kind, "config": config} for kind, config in layers]}


def functional(layers: list[Any], inputs: list[Any], outputs: Any, kind: str = "Model") -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "m", "layers": layers, "input_layers": inputs, "output_layers": outputs}}
